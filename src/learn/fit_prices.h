#pragma once
#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "kv/width.h"
#include "learn/decision_loss.h"

namespace miser::learn {

/// The costs of both sides: K and V.
using SideCosts = std::array<WidthCosts, 2>;

/// How many vectors have a ln s of about so much, by side: what a price needs to know of all vectors.
class SensitivityHistogram {
 public:
  void add(std::size_t side, std::span<const float> log_s);

  /// Mean stored bits per element when each vector takes the width of least s error + exp(log_price) bits.
  double bits_at(const SideCosts& costs, double log_price) const;
  /// The price of at most `bits`; the lowest or the highest one where no price gives them.
  double log_price(const SideCosts& costs, double bits) const;

 private:
  static constexpr double kLow = -60;
  static constexpr double kHigh = 20;
  static constexpr std::size_t kPerNat = 64;
  static constexpr auto kBins = static_cast<std::size_t>((kHigh - kLow) * kPerNat);

  std::array<std::vector<double>, 2> counts_ = {std::vector<double>(kBins), std::vector<double>(kBins)};
};

/// Index of the width of least exp(log_s - log_price) error + bits; the cheaper one of equals.
std::size_t cheapest(const WidthCosts& costs, double log_s, double log_price);

}  // namespace miser::learn
