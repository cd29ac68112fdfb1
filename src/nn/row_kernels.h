#pragma once
#include <cstddef>

#include "nn/inputs.h"
#include "nn/tiles.h"

namespace miser::nn {

/// y[i * ldy + r] = sum_c w[r, c] x[i, c] for rows [first, first + n) of x and the first `rows` <= 16 rows of
/// one tile. Integer formats read `inputs` as round_inputs() left them, kF16 reads x. REQUIRES: first is that
/// of a panel, and n ends with one.
void multiply_tile(TileKind kind, const std::byte* tile, const Inputs& inputs, std::size_t first,
                   std::size_t n, std::size_t rows, float* y, std::size_t ldy);

/// Whether multiply_tile() of integer formats beats unpacking and a GEMM for any number of rows: products of
/// 16 bits with VNNI are twice as fast as those of floats.
bool takes_many_rows();

/// out[c * ld + r] = w[r, c] for the 16 rows of one tile: transposed, as its columns lie.
void unpack_tile(TileKind kind, const std::byte* tile, std::size_t cols, float* out, std::size_t ld);

/// sum_i a[i] b[i].
float dot(const float* a, const float* b, std::size_t n);

}  // namespace miser::nn
