#pragma once
#include <cstddef>
#include <cstdint>
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

/// Vectors that one function rates: those of a (side, layer, KV head), a (side, layer), or a side.
enum class Share : std::uint8_t { kHead, kLayer, kModel };

struct ControllerOptions {
  std::vector<std::string> signals = default_signals();
  std::vector<float> rope_frequencies{};  ///< of the model (policy::LinearController)
  Share share = Share::kHead;
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

/// Fits one linear function per (side, layer, KV head), or fewer, which heads share. Traces are read once per
/// group of layers whose signals fit into 1 GiB; a function of the whole model holds all. Deterministic
/// whatever the number of threads. `progress` is told the share that is done.
ControllerFit fit_controller(const TraceSource& traces, const Centres& centres, const Sensitivities& truth,
                             const SideCosts& costs, const ControllerOptions& options, nn::ThreadPool& pool,
                             const std::function<void(double)>& progress);

/// ln s that the plan's controller predicts for the first `n` tokens of a trace. REQUIRES: plan.linear.
Sensitivities predicted_sensitivities(const policy::Plan& plan, const Trace& trace, std::size_t n,
                                      nn::ThreadPool& pool);

}  // namespace miser::learn
