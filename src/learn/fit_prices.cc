#include "learn/fit_prices.h"

#include <algorithm>
#include <cmath>

namespace miser::learn {

void SensitivityHistogram::add(std::size_t side, std::span<const float> log_s) {
  for (const float value : log_s) {
    const double bin = (static_cast<double>(value) - kLow) * kPerNat;
    counts_[side][static_cast<std::size_t>(std::clamp(bin, 0.0, static_cast<double>(kBins - 1)))] += 1;
  }
}

double SensitivityHistogram::bits_at(const SideCosts& costs, double log_price) const {
  double bits = 0;
  double n = 0;
  for (std::size_t side = 0; side < 2; ++side) {
    for (std::size_t bin = 0; bin < kBins; ++bin) {
      const double count = counts_[side][bin];
      if (count == 0) continue;
      const double log_s = kLow + (static_cast<double>(bin) + 0.5) / kPerNat;
      bits += count * costs[side].bits[cheapest(costs[side], log_s, log_price)];
      n += count;
    }
  }
  return bits / n;
}

double SensitivityHistogram::log_price(const SideCosts& costs, double bits) const {
  constexpr int kHalvings = 50;
  double low = 2 * kLow;
  double high = 2 * kHigh;
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (low + high) / 2;
    (bits_at(costs, middle) > bits ? low : high) = middle;
  }
  return high;
}

std::size_t cheapest(const WidthCosts& costs, double log_s, double log_price) {
  const double s = std::exp(log_s - log_price);
  std::size_t best = 0;
  double least = s * costs.error[0] + costs.bits[0];
  for (std::size_t b = 1; b < costs.bits.size(); ++b) {
    const double cost = s * costs.error[b] + costs.bits[b];
    if (cost >= least) continue;
    least = cost;
    best = b;
  }
  return best;
}

}  // namespace miser::learn
