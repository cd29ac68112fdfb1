#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace miser::nn {

/// Rows of x that products share. Row kernels of integer formats read what round_inputs() made of x, once for
/// all products: each block of 32 columns as scale * level, level a whole number of 16 bits.
struct Inputs {
  const float* x;  ///< [n, cols]
  std::size_t n;
  std::size_t cols;
  std::vector<std::int32_t>
      pairs{};                  ///< [n, cols / 2]: two levels each, as column pairs of tiles (nn/tiles.h)
  std::vector<float> scales{};  ///< [n, cols / 32]
  std::vector<float> sums{};    ///< [n, cols / 32]: sums of scale * level, for formats with an offset
};

/// Fills pairs, scales and sums. A block's scale is its largest magnitude / 32767, but at least 2^-100 /
/// 32767, and levels are rounded to nearest even, so an element moves by at most 1/65534 of the largest. In a
/// block with an infinity or a NaN the scale is NaN, and so is what is computed from it. Columns after the
/// last whole block are left out.
void round_inputs(Inputs& in);

}  // namespace miser::nn
