#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "nn/thread_pool.h"

namespace miser::nn {

/// How numbers become levels, whole numbers of 16 bits.
struct Rounding {
  float inverse;  ///< levels per unit
  float unit;     ///< NaN: there are none
};

/// For numbers of a magnitude up to `largest`: level 32767 stands for that, or for 2^-100 if it is less.
/// Without levels if it is not finite.
inline Rounding rounding_to(float largest) {
  constexpr float kMaxLevel = std::numeric_limits<std::int16_t>::max();
  constexpr float kLeastMagnitude = 0x1p-100F;  // neither unit nor its inverse leaves the normal range
  if (!std::isfinite(largest)) return {0, std::numeric_limits<float>::quiet_NaN()};
  largest = std::max(largest, kLeastMagnitude);
  return {kMaxLevel / largest, largest / kMaxLevel};
}

/// Rows of a panel: levels of so many rows of x lie side by side, so that a pass over weights reads them in
/// order. What is left of n rows makes a panel of 2, of 1 or both.
inline constexpr std::size_t kPanelRows = 4;

/// Rows of x that products share. Row kernels of integer formats read what round_inputs() made of x, once for
/// all products: each block of 32 columns as scale * level, level a whole number of 16 bits. A panel of r
/// rows from row f on begins with element f n_blocks of what is per block, f n_blocks * 16 of the pairs.
struct Inputs {
  const float* x = nullptr;  ///< [n, cols]
  std::size_t n = 0;
  std::size_t cols = 0;
  /// [n_blocks, 16, r] of each panel: two levels each, as column pairs of tiles (nn/tiles.h)
  std::vector<std::int32_t> pairs{};
  std::vector<float> scales{};  ///< [n_blocks, r] of each panel
  std::vector<float> sums{};    ///< the same: sums of scale * level, for formats with an offset
};

/// Fills pairs, scales and sums. Blocks are rounded to their largest magnitude (rounding_to()), levels to
/// nearest even, so an element moves by at most 1/65534 of the largest. What is computed from a block with an
/// infinity or a NaN is NaN. Columns after the last whole block are left out.
void round_inputs(Inputs& in, ThreadPool& pool);

}  // namespace miser::nn
