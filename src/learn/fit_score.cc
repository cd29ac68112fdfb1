#include "learn/fit_score.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "learn/fit_controller.h"
#include "learn/spread.h"
#include "policy/paper.h"

namespace miser::learn {
namespace {

/// ln s of all vectors by (side, layer, head), as some arm sees them: the same shape as Sensitivities::log_s.
using View = std::vector<float>;

SideCosts all_widths(const policy::Plan& plan) {
  policy::Plan all = plan;
  all.ladder.assign(kv::kAllWidths.begin(), kv::kAllWidths.end());
  return ladder_costs(all);
}

std::array<double, 2> mean_by_side(const Sensitivities& truth) {
  std::array<double, 2> means{};
  const std::size_t half = truth.log_s.size() / 2;
  for (std::size_t i = 0; i < truth.log_s.size(); ++i)
    means[i / half] += std::exp(static_cast<double>(truth.log_s[i]));
  for (double& mean : means) mean /= static_cast<double>(2 * half);
  return means;
}

struct Point {
  double bits;
  double cost;
};

/// Cost at `bits` of the best two points mixed, on a logarithmic scale of costs.
double mixed(const std::vector<Point>& points, double bits) {
  double least = std::numeric_limits<double>::infinity();
  for (const Point& low : points) {
    for (const Point& high : points) {
      if (low.bits > bits || high.bits < bits) continue;
      const double share = high.bits == low.bits ? 0 : (bits - low.bits) / (high.bits - low.bits);
      least = std::min(least, std::exp((1 - share) * std::log(low.cost) + share * std::log(high.cost)));
    }
  }
  return least;
}

double fixed_cost(const policy::Plan& plan, const Sensitivities& truth, double bits) {
  const SideCosts costs = all_widths(plan);
  const auto mean = mean_by_side(truth);
  std::vector<Point> points;
  for (std::size_t k = 0; k + 1 < kv::kWidthCount; ++k) {  // but for 16 bits, which cost nothing
    for (std::size_t v = 0; v + 1 < kv::kWidthCount; ++v) {
      points.push_back({(costs[0].bits[k] + costs[1].bits[v]) / 2,
                        mean[0] * costs[0].error[k] + mean[1] * costs[1].error[v]});
    }
  }
  return mixed(points, bits);
}

/// Bits and cost of the choices at one price.
Point choose(const SideCosts& costs, const Sensitivities& truth, const View& view, double log_price) {
  Point sum{0, 0};
  const std::size_t half = view.size() / 2;
  for (std::size_t i = 0; i < view.size(); ++i) {
    const WidthCosts& side = costs[i / half];
    const std::size_t b = cheapest(side, static_cast<double>(view[i]), log_price);
    sum.bits += side.bits[b];
    sum.cost += std::exp(static_cast<double>(truth.log_s[i])) * side.error[b];
  }
  return {sum.bits / static_cast<double>(view.size()), sum.cost / static_cast<double>(view.size())};
}

/// At the price that meets `bits`; where the choices jump over it, those before and after mixed.
double cost_at(const SideCosts& costs, const Sensitivities& truth, const View& view, double bits) {
  SensitivityHistogram histogram;
  const std::size_t half = view.size() / 2;
  for (std::size_t side = 0; side < 2; ++side)
    histogram.add(side, std::span(view).subspan(side * half, half));
  const double log_price = histogram.log_price(costs, bits);
  constexpr double kStep = 1.0 / 32;  // two bins of the histogram
  const Point cheap = choose(costs, truth, view, log_price + kStep);
  const Point dear = choose(costs, truth, view, log_price - kStep);
  if (dear.bits <= cheap.bits) return cheap.cost;
  return cheap.cost + (bits - cheap.bits) / (dear.bits - cheap.bits) * (dear.cost - cheap.cost);
}

View static_view(const policy::Plan& plan, const Sensitivities& truth) {
  View view;
  for (const float s : plan.mean_sensitivity)
    view.insert(view.end(), truth.n, std::log(std::max(s, std::numeric_limits<float>::min())));
  return view;
}

/// What the controller predicts of the kept tokens of all traces.
Sensitivities all_predicted(const policy::Plan& plan, const TraceSource& traces, nn::ThreadPool& pool) {
  Sensitivities all;
  for (std::size_t t = 0; t < traces.n; ++t) {
    const Trace trace = traces.read(t);
    all.append(predicted_sensitivities(plan, trace, kept_tokens(trace), pool));
  }
  return all;
}

/// Bits and cost of the widths that the paper's controller gives to the kept tokens of all traces.
PlanScore::Unpriced score_paper(const policy::Plan& plan, const TraceSource& traces,
                                const Sensitivities& truth) {
  Point sum{0, 0};
  std::size_t token = 0;
  for (std::size_t t = 0; t < traces.n; ++t) {
    const Trace trace = traces.read(t);
    const std::size_t end = token + kept_tokens(trace);
    for (std::size_t i = 0; token < end; ++token, ++i) {
      const float* const x = &trace.token_signals[4 * i];
      const auto width = static_cast<std::size_t>(
          policy::paper_width(*plan.paper, {trace.ids[trace.first + i], x[0], x[1], x[2], x[3]}));
      sum.bits += static_cast<double>(plan.stored_bits[width]);
      for (std::size_t at = token; at < truth.log_s.size(); at += truth.n) {
        const std::size_t side = 2 * at / truth.log_s.size();
        sum.cost +=
            std::exp(static_cast<double>(truth.log_s[at])) * static_cast<double>(plan.error[side][width]);
      }
    }
  }
  const double bits = sum.bits / static_cast<double>(truth.n);
  return {bits, sum.cost / static_cast<double>(truth.log_s.size()) / fixed_cost(plan, truth, bits)};
}

}  // namespace

SideCosts ladder_costs(const policy::Plan& plan) {
  SideCosts costs;
  for (std::size_t side = 0; side < 2; ++side) {
    for (const kv::Width width : plan.ladder) {
      costs[side].error.push_back(static_cast<double>(plan.error[side][static_cast<std::size_t>(width)]));
      costs[side].bits.push_back(static_cast<double>(plan.stored_bits[static_cast<std::size_t>(width)]));
    }
  }
  return costs;
}

PlanScore score_plan(const policy::Plan& plan, const TraceSource& traces, std::span<const double> budgets,
                     nn::ThreadPool& pool) {
  const Sensitivities truth = all_sensitivities(traces, {plan.centre_k, plan.centre_v});
  const SideCosts costs = ladder_costs(plan);
  PlanScore score;
  score.budgets.assign(budgets.begin(), budgets.end());
  for (const double bits : budgets) score.fixed_cost.push_back(fixed_cost(plan, truth, bits));
  const auto add = [&](const char* name, const View& view) {
    PlanScore::Arm arm{name, {}};
    for (std::size_t i = 0; i < budgets.size(); ++i)
      arm.relative_cost.push_back(cost_at(costs, truth, view, budgets[i]) / score.fixed_cost[i]);
    score.arms.push_back(std::move(arm));
  };
  add("static", static_view(plan, truth));
  if (plan.linear) {
    const Sensitivities predicted = all_predicted(plan, traces, pool);
    add("learned", predicted.log_s);
    const auto correlation = correlation_within_heads(truth, predicted);
    score.correlation.assign(correlation.begin(), correlation.end());
  }
  add("oracle", truth.log_s);
  if (plan.paper) score.paper = score_paper(plan, traces, truth);
  return score;
}

}  // namespace miser::learn
