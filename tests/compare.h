#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

namespace miser::test {

/// Quantiles of |a - b|. Not-a-number counts as infinity.
///
/// Logits of two correct passes differ by float rounding, and by *flips*: a value that lies within float
/// rounding of the middle between two binary16 numbers, or between two codes of a quantised vector, may go
/// either way. A flip of binary16 is rare (1 in 200 of the elements of K and V), of a code far rarer, but one
/// flip moves all later tokens a little and the next few more. So comparisons bound the median and the 99th
/// percentile tightly and the maximum loosely.
struct Spread {
  double median = 0;
  double p99 = 0;
  double max = 0;
};

inline Spread difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size() || a.empty()) {
    const double inf = std::numeric_limits<double>::infinity();
    return {inf, inf, inf};
  }
  std::vector<double> distance(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    distance[i] = std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
  }
  std::sort(distance.begin(), distance.end());
  const auto at = [&](double q) {
    return distance[static_cast<std::size_t>(q * static_cast<double>(distance.size() - 1))];
  };
  return {at(0.5), at(0.99), distance.back()};
}

}  // namespace miser::test
