#include "eval/frontier_widths.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <random>
#include <vector>

#include "learn/fit_samples.h"
#include "policy/width_steps.h"

namespace miser::eval {
namespace {

/// f(widths of the committed tokens) for each (side, layer, head); what it makes of them is stored.
template <class F>
policy::WidthTable each_head(const policy::WidthTable& table, Committed tokens, F&& f) {
  policy::WidthTable out = table;
  std::vector<kv::Width> widths(tokens.end - tokens.begin);
  for (std::size_t side = 0; side < 2; ++side) {
    for (std::size_t layer = 0; layer < table.n_layers(); ++layer) {
      for (std::size_t head = 0; head < table.n_kv_heads(); ++head) {
        for (std::size_t i = 0; i < widths.size(); ++i)
          widths[i] = table.at(side, layer, tokens.begin + i, head);
        f(widths);
        for (std::size_t i = 0; i < widths.size(); ++i)
          out.at(side, layer, tokens.begin + i, head) = widths[i];
      }
    }
  }
  return out;
}

/// ln of the true sensitivities, by [side][layer * n_kv_heads + head][token].
using Ratings = std::array<std::vector<std::vector<float>>, 2>;

Ratings true_ratings(const learn::Trace& trace, const policy::Plan& plan) {
  const learn::Centres centres = {plan.centre_k, plan.centre_v};
  Ratings ratings;
  for (std::size_t side = 0; side < 2; ++side) {
    for (std::size_t layer = 0; layer < trace.n_layers; ++layer) {
      for (std::size_t head = 0; head < trace.n_kv_heads; ++head)
        learn::log_sensitivities(trace, centres, side, layer, head,
                                 ratings[side].emplace_back(std::vector<float>(trace.n)));
    }
  }
  return ratings;
}

double mean_bits(const Ratings& ratings, const std::array<policy::WidthSteps, 2>& steps, float log_price) {
  double sum = 0;
  double n = 0;
  for (std::size_t side = 0; side < 2; ++side) {
    for (const auto& of_head : ratings[side]) {
      for (const float rating : of_head) sum += static_cast<double>(steps[side].at(rating - log_price).bits);
      n += static_cast<double>(of_head.size());
    }
  }
  return sum / n;
}

/// ln of the price, by bisection: more of it means fewer bits.
float solve_price(const Ratings& ratings, const std::array<policy::WidthSteps, 2>& steps, double bits) {
  float low = -60;
  float high = 20;
  for (int i = 0; i < 40; ++i) {
    const float middle = (low + high) / 2;
    (mean_bits(ratings, steps, middle) > bits ? low : high) = middle;
  }
  return high;
}

}  // namespace

policy::WidthTable shuffled(const policy::WidthTable& table, Committed tokens, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  return each_head(table, tokens, [&](std::vector<kv::Width>& widths) {
    // Not std::shuffle, which differs between libraries.
    for (std::size_t i = widths.size(); i > 1; --i) std::swap(widths[i - 1], widths[random() % i]);
  });
}

policy::WidthTable inverted(const policy::WidthTable& table, Committed tokens) {
  return each_head(table, tokens, [](std::vector<kv::Width>& widths) {
    std::vector<std::size_t> order(widths.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return widths[a] < widths[b]; });
    const std::vector<kv::Width> before = widths;
    for (std::size_t i = 0; i < order.size(); ++i) widths[order[i]] = before[order[order.size() - 1 - i]];
  });
}

policy::WidthTable oracle(const learn::Trace& trace, const policy::Plan& plan, double bits) {
  const Ratings ratings = true_ratings(trace, plan);
  const std::array<policy::WidthSteps, 2> steps = {policy::WidthSteps(plan, 0), policy::WidthSteps(plan, 1)};
  const float log_price = solve_price(ratings, steps, bits);
  policy::WidthTable table(trace.n_layers, trace.length, trace.n_kv_heads);
  for (std::size_t side = 0; side < 2; ++side) {
    for (std::size_t at = 0; at < ratings[side].size(); ++at) {
      for (std::size_t i = 0; i < trace.n; ++i)
        table.at(side, at / trace.n_kv_heads, trace.first + i, at % trace.n_kv_heads) =
            steps[side].at(ratings[side][at][i] - log_price).width;
    }
  }
  return table;
}

}  // namespace miser::eval
