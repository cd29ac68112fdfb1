#include "learn/spread.h"

#include <cassert>
#include <cmath>
#include <vector>

#include "learn/correlation.h"

namespace miser::learn {
namespace {

struct Moments {
  double mean = 0;
  double variance = 0;
};

template <class T>
Moments moments(const T& values) {
  Moments m;
  for (const double x : values) m.mean += x / static_cast<double>(values.size());
  for (const double x : values)
    m.variance += (x - m.mean) * (x - m.mean) / static_cast<double>(values.size());
  return m;
}

}  // namespace

std::array<Spread, 2> spread(const Sensitivities& sensitivities) {
  std::array<Spread, 2> sides;
  for (std::size_t side = 0; side < 2; ++side) {
    std::vector<double> means;
    std::vector<double> variances;
    for (std::size_t layer = 0; layer < sensitivities.n_layers; ++layer) {
      for (std::size_t head = 0; head < sensitivities.n_kv_heads; ++head) {
        const Moments of_head = moments(sensitivities.of(side, layer, head));
        means.push_back(of_head.mean);
        variances.push_back(of_head.variance);
      }
    }
    sides[side] = {std::sqrt(moments(variances).mean), std::sqrt(moments(means).variance)};
  }
  return sides;
}

std::array<double, 2> correlation_within_heads(const Sensitivities& a, const Sensitivities& b) {
  assert(a.log_s.size() == b.log_s.size());
  std::array<double, 2> means{};
  for (std::size_t side = 0; side < 2; ++side) {
    for (std::size_t layer = 0; layer < a.n_layers; ++layer) {
      for (std::size_t head = 0; head < a.n_kv_heads; ++head) {
        const auto x = a.of(side, layer, head);
        const auto y = b.of(side, layer, head);
        means[side] +=
            pearson(std::vector<double>(x.begin(), x.end()), std::vector<double>(y.begin(), y.end()));
      }
    }
    means[side] /= static_cast<double>(a.n_layers * a.n_kv_heads);
  }
  return means;
}

}  // namespace miser::learn
