#pragma once
#include <span>

namespace miser::learn {

/// Pearson's correlation; 0 where a side does not vary. REQUIRES: equal sizes.
double pearson(std::span<const double> a, std::span<const double> b);

/// Spearman's correlation: Pearson's of the ranks, of which equal values share the mean.
double spearman(std::span<const double> a, std::span<const double> b);

}  // namespace miser::learn
