#include "learn/fit.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "learn/fit_costs.h"
#include "learn/fit_prices.h"
#include "learn/fit_score.h"

namespace miser::learn {
namespace {

constexpr std::size_t kLeastTokens = 64;  // fewer teach nothing
/// Budgets of the price curve, stored bits per element.
constexpr double kLowestBudget = 1.5;
constexpr double kHighestBudget = 8;
constexpr double kBudgetStep = 0.25;

std::vector<float> mean_sensitivity(const Sensitivities& truth) {
  std::vector<float> means;
  for (std::size_t i = 0; i < truth.log_s.size(); i += truth.n) {
    double sum = 0;
    for (std::size_t t = i; t < i + truth.n; ++t) sum += std::exp(static_cast<double>(truth.log_s[t]));
    means.push_back(static_cast<float>(sum / static_cast<double>(truth.n)));
  }
  return means;
}

/// Prices at budgets that the ladder can meet with room on both sides.
void add_price_curve(const SensitivityHistogram& predicted, const SideCosts& costs, policy::Plan& plan) {
  for (double bits = kLowestBudget; bits <= kHighestBudget; bits += kBudgetStep) {
    if (bits <= costs[0].bits.front() || bits >= costs[0].bits.back()) continue;
    plan.price_bits.push_back(static_cast<float>(bits));
    plan.price_log.push_back(static_cast<float>(predicted.log_price(costs, bits)));
  }
}

/// Error and bits of the classes 2, 4, 8 and 16 of the paper.
SideCosts paper_costs(policy::Plan plan) {
  plan.ladder = {kv::Width::k2, kv::Width::k4, kv::Width::k8, kv::Width::k16};
  return ladder_costs(plan);
}

}  // namespace

policy::Plan fit_plan(const TraceSource& traces, const FitOptions& options, nn::ThreadPool& pool,
                      const std::function<void(double)>& progress) {
  const Trace shape = traces.read(0);
  policy::Plan plan;
  plan.model.n_layers = shape.n_layers;
  plan.model.n_heads = shape.n_heads;
  plan.model.n_kv_heads = shape.n_kv_heads;
  plan.model.head_dim = shape.head_dim;
  plan.window = shape.window;
  plan.block = shape.block;
  plan.ladder = options.ladder;
  Centres centres = mean_rows(traces);
  if (!options.centred) {
    for (auto& of_side : centres) std::fill(of_side.begin(), of_side.end(), 0.0F);
  }
  plan.centre_k = centres[0];
  plan.centre_v = centres[1];
  const CodecCosts codec = codec_costs(traces, centres);
  plan.error = codec.error;
  plan.stored_bits = codec.stored_bits;
  const Sensitivities truth = all_sensitivities(traces, centres);
  if (truth.n < kLeastTokens)
    fail("training text: found {} tokens with enough queries after the window, expected at least {}", truth.n,
         kLeastTokens);
  plan.mean_sensitivity = mean_sensitivity(truth);
  const SideCosts costs = ladder_costs(plan);
  const bool paper_alone = options.controller == Controller::kPaper;
  if (paper_alone || options.with_paper)
    plan.paper = fit_paper(traces, truth, paper_costs(plan), options.paper);
  if (paper_alone) {
    progress(1);
    return plan;
  }
  ControllerOptions linear = options.linear;
  linear.decide = options.controller == Controller::kLearned;
  ControllerFit fit = fit_controller(traces, centres, truth, costs, linear, pool, progress);
  plan.linear = std::move(fit.controller);
  add_price_curve(fit.predicted, costs, plan);
  return plan;
}

}  // namespace miser::learn
