#include "learn/fit_score.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "learn/fit_controller.h"

namespace miser::learn {
namespace {

/// ln s of all vectors by (side, layer, head), as some arm sees them: the same shape as Sensitivities::log_s.
using View = std::vector<float>;

SideCosts all_widths(const policy::Plan& plan) {
  policy::Plan all = plan;
  all.ladder.assign(kv::kAllWidths.begin(), kv::kAllWidths.end());
  return ladder_costs(all);
}

std::array<double, 2> mean_sensitivity(const Sensitivities& truth) {
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
  const auto mean = mean_sensitivity(truth);
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

View predicted_view(const policy::Plan& plan, const Centres& centres, const TraceSource& traces,
                    const Sensitivities& truth, nn::ThreadPool& pool) {
  View view(truth.log_s.size());
  std::size_t first = 0;
  for (std::size_t t = 0; t < traces.n; ++t) {
    const Trace trace = traces.read(t);
    const std::size_t n = kept_tokens(trace);
    const std::size_t heads = trace.n_kv_heads;
    const policy::SignalSet signals(plan.linear->signals, trace.n_heads / heads, trace.head_dim);
    pool.parallel_for(trace.n_layers, [&](std::size_t layer, int) {
      const auto values = layer_signals(trace, centres, signals, layer, n);
      for (std::size_t head = 0; head < heads; ++head) {
        SignalRows rows(signals.columns());
        for (std::size_t i = 0; i < n; ++i)
          rows.add(std::span(values).subspan((i * heads + head) * rows.columns, rows.columns));
        for (std::size_t side = 0; side < 2; ++side) {
          const auto log_s = predict(*plan.linear, heads, side, layer, head, rows);
          const std::size_t row = (side * trace.n_layers + layer) * heads + head;
          std::copy(log_s.begin(), log_s.end(),
                    view.begin() + static_cast<std::ptrdiff_t>(row * truth.n + first));
        }
      }
    });
    first += n;
  }
  return view;
}

double correlation(std::span<const float> a, std::span<const float> b) {
  const auto n = static_cast<double>(a.size());
  double sum_a = 0;
  double sum_b = 0;
  double sum_aa = 0;
  double sum_bb = 0;
  double sum_ab = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = a[i];
    const double y = b[i];
    sum_a += x;
    sum_b += y;
    sum_aa += x * x;
    sum_bb += y * y;
    sum_ab += x * y;
  }
  const double covariance = sum_ab - sum_a * sum_b / n;
  const double variances = (sum_aa - sum_a * sum_a / n) * (sum_bb - sum_b * sum_b / n);
  return variances > 0 ? covariance / std::sqrt(variances) : 0;
}

/// Mean over the heads of one side.
double mean_correlation(const Sensitivities& truth, const View& view, std::size_t side) {
  const std::size_t heads = truth.n_layers * truth.n_kv_heads;
  double sum = 0;
  for (std::size_t head = 0; head < heads; ++head) {
    const auto predicted = std::span(view).subspan((side * heads + head) * truth.n, truth.n);
    sum += correlation(truth.of(side, head / truth.n_kv_heads, head % truth.n_kv_heads), predicted);
  }
  return sum / static_cast<double>(heads);
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

Score score_plan(const policy::Plan& plan, const TraceSource& traces, std::span<const double> budgets,
                 nn::ThreadPool& pool) {
  const Centres centres = {plan.centre_k, plan.centre_v};
  const Sensitivities truth = all_sensitivities(traces, centres);
  const SideCosts costs = ladder_costs(plan);
  Score score;
  score.budgets.assign(budgets.begin(), budgets.end());
  for (const double bits : budgets) score.fixed_cost.push_back(fixed_cost(plan, truth, bits));
  const auto add = [&](const char* name, const View& view) {
    Score::Arm arm{name, {}};
    for (std::size_t i = 0; i < budgets.size(); ++i)
      arm.relative_cost.push_back(cost_at(costs, truth, view, budgets[i]) / score.fixed_cost[i]);
    score.arms.push_back(std::move(arm));
  };
  add("static", static_view(plan, truth));
  if (plan.linear) {
    const View view = predicted_view(plan, centres, traces, truth, pool);
    add("learned", view);
    score.correlation = {mean_correlation(truth, view, 0), mean_correlation(truth, view, 1)};
  }
  add("oracle", truth.log_s);
  return score;
}

}  // namespace miser::learn
