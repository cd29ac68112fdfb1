#pragma once
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "learn/fit_linear.h"
#include "learn/fit_prices.h"
#include "learn/fit_samples.h"
#include "nn/thread_pool.h"
#include "policy/plan.h"

namespace miser::learn {

/// All that policy::SignalSet knows.
std::vector<std::string> default_signals();

struct ControllerOptions {
  std::vector<std::string> signals = default_signals();
  double ridge = 20;      ///< penalty of the ridge regression
  bool decide = true;     ///< go on to the weights of least DecisionLoss
  double low_bits = 1.6;  ///< the loss looks at the prices between these budgets
  double high_bits = 4.5;
  DecisionOptions decision;
};

/// A controller, and the sensitivities that it predicts for the vectors it was fitted on.
struct ControllerFit {
  policy::LinearController controller;
  SensitivityHistogram predicted;
};

/// Fits one linear function per (side, layer, KV head). Traces are read once per group of layers whose
/// signals fit into 1 GiB. Deterministic whatever the number of threads. `progress` is told the share that is
/// done.
ControllerFit fit_controller(const TraceSource& traces, const Centres& centres, const Sensitivities& truth,
                             const SideCosts& costs, const ControllerOptions& options, nn::ThreadPool& pool,
                             const std::function<void(double)>& progress);

/// Predicted ln s of one (side, layer, KV head) for each row of signals as SignalSet makes them.
std::vector<float> predict(const policy::LinearController& controller, std::size_t n_kv_heads,
                           std::size_t side, std::size_t layer, std::size_t head, SignalRows rows);

}  // namespace miser::learn
