#pragma once
#include <array>

#include "learn/fit_samples.h"

namespace miser::learn {

/// Standard deviations of ln s of one side.
struct Spread {
  double within = 0;   ///< of the tokens of a head about its mean: root of the heads' mean variance
  double between = 0;  ///< of the means of the heads
};

/// Those of K and V. REQUIRES: sensitivities.n > 0.
std::array<Spread, 2> spread(const Sensitivities& sensitivities);

/// Correlation of ln s within a head, mean over the heads of K and of V. REQUIRES: the same vectors.
std::array<double, 2> correlation_within_heads(const Sensitivities& a, const Sensitivities& b);

}  // namespace miser::learn
