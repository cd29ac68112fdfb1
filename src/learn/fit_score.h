#pragma once
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "learn/fit_prices.h"
#include "learn/fit_samples.h"
#include "nn/thread_pool.h"
#include "policy/plan.h"

namespace miser::learn {

/// What an allocation is expected to cost, without running the model: the mean of true sensitivity times the
/// error of the width that was chosen, over that of fixed pairs of widths mixed to the same bytes.
struct PlanScore {
  struct Arm {
    std::string name;
    std::vector<double> relative_cost;  ///< one per budget
  };
  /// What a controller that follows no budget spends and costs.
  struct Unpriced {
    double bits = 0;
    double relative_cost = 0;
  };
  std::vector<double> budgets;     ///< stored bits per element
  std::vector<double> fixed_cost;  ///< expected KL per future query and vector of fixed pairs
  std::vector<Arm> arms;
  std::optional<Unpriced> paper;  ///< the paper's controller
  /// Of the predicted and true ln s within a head, mean over heads: K and V. Empty without a controller.
  std::vector<double> correlation;
};

/// Scores the static plan, the controllers (if there are any) and the true sensitivities on traces that the
/// plan was not made from. Prices are solved on those traces.
PlanScore score_plan(const policy::Plan& plan, const TraceSource& traces, std::span<const double> budgets,
                     nn::ThreadPool& pool);

/// Error and bits of the widths of the plan's ladder.
SideCosts ladder_costs(const policy::Plan& plan);

}  // namespace miser::learn
