#pragma once
#include <cstddef>

#include "nn/tiles.h"

namespace miser::nn {

/// The inputs of a product: x [n, cols], and sums [n, cols / 32] of its blocks for formats with an offset.
struct Inputs {
  const float* x;
  const float* sums;
  std::size_t n;
  std::size_t cols;
};

/// sums [n, cols / 32]: sums of 32 consecutive elements of x [n, cols]; a shorter last block is left out.
void block_sums(const float* x, std::size_t n, std::size_t cols, float* sums);

/// y[i * ldy + r] = sum_c w[r, c] x[i, c] for the first `rows` <= 16 rows of one tile.
void multiply_tile(TileKind kind, const std::byte* tile, const Inputs& inputs, std::size_t rows, float* y,
                   std::size_t ldy);

/// out[c * ld + r] = w[r, c] for the 16 rows of one tile: transposed, as its columns lie.
void unpack_tile(TileKind kind, const std::byte* tile, std::size_t cols, float* out, std::size_t ld);

/// sum_i a[i] b[i].
float dot(const float* a, const float* b, std::size_t n);

}  // namespace miser::nn
