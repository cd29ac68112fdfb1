#pragma once
#include <cstddef>

#include "nn/inputs.h"
#include "nn/tiles.h"

namespace miser::nn {

/// y[i * ldy + r] = sum_c w[r, c] x[i, c] for the first `rows` <= 16 rows of one tile. Integer formats
/// read `inputs` as round_inputs() left them, kF16 reads x.
void multiply_tile(TileKind kind, const std::byte* tile, const Inputs& inputs, std::size_t rows, float* y,
                   std::size_t ldy);

/// out[c * ld + r] = w[r, c] for the 16 rows of one tile: transposed, as its columns lie.
void unpack_tile(TileKind kind, const std::byte* tile, std::size_t cols, float* out, std::size_t ld);

/// sum_i a[i] b[i].
float dot(const float* a, const float* b, std::size_t n);

}  // namespace miser::nn
