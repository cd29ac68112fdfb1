#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kv/width.h"
#include "learn/fit_controller.h"
#include "learn/fit_samples.h"
#include "learn/paper_fit.h"
#include "nn/thread_pool.h"
#include "policy/plan.h"

namespace miser::learn {

/// What is fitted on the traces: ours for the decision, ours for the label alone, or the paper's network.
enum class Controller : std::uint8_t { kLearned, kRidge, kPaper };

struct FitOptions {
  Controller controller = Controller::kLearned;
  bool with_paper = false;  ///< the paper's network beside the other one
  bool centred = true;      ///< quantise vectors less the mean of their head; else the centres are zeros
  std::vector<kv::Width> ladder = {kv::kAllWidths.begin(), kv::kAllWidths.end()};
  ControllerOptions linear;
  PaperOptions paper;
};

/// Makes a plan (docs/adaptive.md): centres, errors of the codec, mean sensitivities, a controller and the
/// curve of its prices; `model`, `text_hash` and `results` are left to the caller. The same traces and
/// options give the same plan whatever the number of threads. `progress` is told the share that is done.
/// Throws Error for an unknown signal, and when too few tokens have the future that a label needs.
policy::Plan fit_plan(const TraceSource& traces, const FitOptions& options, nn::ThreadPool& pool,
                      const std::function<void(double)>& progress);

}  // namespace miser::learn
