#include "learn/decision_loss.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace miser::learn {
namespace {

// Outside of it, all choose the smallest or the largest width whatever the price.
constexpr double kReach = 36;
constexpr std::size_t kPerNat = 64;
constexpr auto kCells = static_cast<std::size_t>(2 * kReach * kPerNat);
/// A vector of more harm than exp(11.5) times the highest price is as important as can be; without a limit a
/// few of them would be all that a fit looks at.
constexpr double kMostPrices = 11.5;

/// The four integrands at one u.
struct Integrands {
  double error = 0;
  double bits = 0;
  double error_slope = 0;
  double bits_slope = 0;
};

Integrands integrands(const WidthCosts& costs, double u, double temperature) {
  const double scale = std::exp(u);
  const std::size_t n = costs.error.size();
  std::vector<double> p(n);
  double least = 1e300;
  for (std::size_t b = 0; b < n; ++b) {
    p[b] = scale * costs.error[b] + costs.bits[b];
    least = std::min(least, p[b]);
  }
  double sum = 0;
  for (double& harm : p) sum += harm = std::exp((least - harm) / temperature);
  double error = 0;
  double bits = 0;
  for (std::size_t b = 0; b < n; ++b) {
    p[b] /= sum;
    error += p[b] * costs.error[b];
    bits += p[b] * costs.bits[b];
  }
  // p_b' = -exp(u) / T p_b (error_b - mean error), so the slopes are covariances.
  double variance = 0;
  double covariance = 0;
  for (std::size_t b = 0; b < n; ++b) {
    const double distance = p[b] * (costs.error[b] - error);
    variance += distance * costs.error[b];
    covariance += distance * costs.bits[b];
  }
  const double rate = -scale / temperature;
  return {scale * error, bits, rate * variance * scale, rate * covariance};
}

}  // namespace

DecisionLoss::DecisionLoss(const WidthCosts& costs, double low, double high, double temperature)
    : low_(low), high_(high) {
  assert(low < high && high - low < kReach && temperature > 0);
  assert(!costs.error.empty() && costs.error.size() == costs.bits.size());
  for (Table* table : {&error_, &bits_, &error_slope_, &bits_slope_}) table->assign(kCells + 1, 0);
  for (std::size_t i = 0; i < kCells; ++i) {  // midpoint rule
    const double u = (static_cast<double>(i) + 0.5) / kPerNat - kReach;
    const Integrands at = integrands(costs, u, temperature);
    error_[i + 1] = error_[i] + at.error / kPerNat;
    bits_[i + 1] = bits_[i] + at.bits / kPerNat;
    error_slope_[i + 1] = error_slope_[i] + at.error_slope / kPerNat;
    bits_slope_[i + 1] = bits_slope_[i] + at.bits_slope / kPerNat;
  }
}

double DecisionLoss::between(const Table& table, double f) const {
  const auto at = [&](double u) {
    const double cell = std::clamp((u + kReach) * kPerNat, 0.0, static_cast<double>(kCells));
    const auto i = std::min(static_cast<std::size_t>(cell), kCells - 1);
    return table[i] + (cell - static_cast<double>(i)) * (table[i + 1] - table[i]);
  };
  return (at(f - low_) - at(f - high_)) / (high_ - low_);
}

double DecisionLoss::ratio(double f, double y) const {
  return std::exp(std::min(y, high_ + kMostPrices) - f);
}

double DecisionLoss::value(double f, double y) const {
  return ratio(f, y) * between(error_, f) + between(bits_, f);
}

double DecisionLoss::slope(double f, double y) const {
  return ratio(f, y) * between(error_slope_, f) + between(bits_slope_, f);
}

}  // namespace miser::learn
