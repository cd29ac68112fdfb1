#pragma once
#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "kv/width.h"

namespace miser::learn {

/// Relative squared error and stored bits per element of each width that may be chosen, for one side.
struct WidthCosts {
  std::vector<double> error;
  std::vector<double> bits;
};

/// What a predicted sensitivity exp(f) costs when the true one is exp(y). At a price l, a width b costs
///     harm_b(z) = exp(z) error_b + bits_b    in units of the price, z = ln s - ln l,
/// and is chosen with probability p_b(u) = softmax(-harm(u) / T), u = f - ln l. The loss is the mean cost
///     1 / (high - low)  integral over ln l from low to high of  sum_b p_b(u) harm_b(y - ln l).
/// With y - ln l = (y - f) + u it is exp(y - f) times an integral over u that depends on f alone, plus
/// another: two tables of running integrals give it, and two more its slope in f, without sampling prices.
/// (Over all prices, without the softmax, it would be the gamma deviance y - f and its exponential: the
/// Itakura-Saito divergence, the only one that all scales share.)
class DecisionLoss {
 public:
  /// `low` < `high`: ln of the prices that matter.
  DecisionLoss(const WidthCosts& costs, double low, double high, double temperature);

  double value(double f, double y) const;
  double slope(double f, double y) const;  ///< d value / d f

 private:
  /// A running integral, on a grid of u.
  using Table = std::vector<double>;
  double between(const Table& table, double f) const;
  double ratio(double f, double y) const;

  double low_;
  double high_;
  Table error_;        ///< of sum_b p_b error_b exp(u)
  Table bits_;         ///< of sum_b p_b bits_b
  Table error_slope_;  ///< of sum_b p_b' error_b exp(u)
  Table bits_slope_;   ///< of sum_b p_b' bits_b
};

}  // namespace miser::learn
