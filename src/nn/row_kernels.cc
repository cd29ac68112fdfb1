#include "nn/row_kernels.h"

#include <algorithm>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nn/row_kernels.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "hwy/highway.h"
#include "nn/tile_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace miser::nn::HWY_NAMESPACE {

/// acc[k] += one tile block times columns of x, for `n` rows of x that lie `ldx` apart.
template <class Block, std::size_t n>
HWY_INLINE void add_block(const std::byte* block, std::size_t lane, const float* HWY_RESTRICT x,
                          std::size_t ldx, const float* HWY_RESTRICT sums, std::size_t ld_sums, Vector* acc) {
  const Floats d;
  Vector even[n];
  Vector odd[n];
  for (std::size_t k = 0; k < n; ++k) even[k] = odd[k] = hn::Zero(d);
  Block::for_each_pair(block, lane, [&](std::size_t c, Vector w0, Vector w1) HWY_ATTR {
    HWY_UNROLL(4)
    for (std::size_t k = 0; k < n; ++k) {
      even[k] = hn::MulAdd(w0, hn::Set(d, x[k * ldx + c]), even[k]);
      odd[k] = hn::MulAdd(w1, hn::Set(d, x[k * ldx + c + 1]), odd[k]);
    }
  });
  const Vector scale = Block::scale(block, lane);
  for (std::size_t k = 0; k < n; ++k) acc[k] = hn::MulAdd(scale, hn::Add(even[k], odd[k]), acc[k]);
  if constexpr (Block::kHasOffset) {
    const Vector offset = Block::offset(block, lane, scale);
    for (std::size_t k = 0; k < n; ++k) acc[k] = hn::MulAdd(offset, hn::Set(d, sums[k * ld_sums]), acc[k]);
  }
}

/// acc[k] += the rows of one tile from `lane` on times rows first + k of x, k < n.
template <class Block, std::size_t n>
HWY_INLINE void add_tile(const std::byte* tile, const Inputs& in, std::size_t first, std::size_t lane,
                         Vector* acc) {
  const std::size_t n_blocks = in.cols / kQuantColumns;
  const float* x = in.x + first * in.cols;
  const float* sums = in.sums + first * n_blocks;
  for (std::size_t b = 0; b < n_blocks; ++b) {
    add_block<Block, n>(tile + b * block_bytes(Block::kKind), lane, x + b * kQuantColumns, in.cols, sums + b,
                        n_blocks, acc);
  }
}

template <class Block>
HWY_INLINE void unpack_lanes(const std::byte* tile, std::size_t cols, std::size_t lane, float* out,
                             std::size_t ld) {
  const Floats d;
  for (std::size_t b = 0; b < cols / kQuantColumns; ++b) {
    const std::byte* block = tile + b * block_bytes(Block::kKind);
    const Vector scale = Block::scale(block, lane);
    Vector offset = hn::Zero(d);
    if constexpr (Block::kHasOffset) offset = Block::offset(block, lane, scale);
    float* to = out + b * kQuantColumns * ld + lane;
    Block::for_each_pair(block, lane, [&](std::size_t c, Vector w0, Vector w1) HWY_ATTR {
      hn::StoreU(hn::MulAdd(scale, w0, offset), d, to + c * ld);
      hn::StoreU(hn::MulAdd(scale, w1, offset), d, to + (c + 1) * ld);
    });
  }
}

template <>
HWY_INLINE void unpack_lanes<F16Column>(const std::byte* tile, std::size_t cols, std::size_t lane, float* out,
                                        std::size_t ld) {
  const Floats d;
  const std::uint16_t* w = halves(tile) + lane;
  for (std::size_t c = 0; c < cols; ++c) hn::StoreU(load_half(d, w + c * kTileRows), d, out + c * ld + lane);
}

template <std::size_t n>
HWY_INLINE void add_f16_tile(const std::byte* tile, const Inputs& in, std::size_t first, std::size_t lane,
                             Vector* acc) {
  const Floats d;
  const std::uint16_t* w = halves(tile) + lane;
  const float* x = in.x + first * in.cols;
  Vector odd[n];
  for (std::size_t k = 0; k < n; ++k) odd[k] = hn::Zero(d);
  std::size_t c = 0;
  for (; c + 2 <= in.cols; c += 2) {
    const Vector w0 = load_half(d, w + c * kTileRows);
    const Vector w1 = load_half(d, w + (c + 1) * kTileRows);
    HWY_UNROLL(4)
    for (std::size_t k = 0; k < n; ++k) {
      acc[k] = hn::MulAdd(w0, hn::Set(d, x[k * in.cols + c]), acc[k]);
      odd[k] = hn::MulAdd(w1, hn::Set(d, x[k * in.cols + c + 1]), odd[k]);
    }
  }
  for (std::size_t k = 0; k < n; ++k) {
    if (c < in.cols)
      acc[k] = hn::MulAdd(load_half(d, w + c * kTileRows), hn::Set(d, x[k * in.cols + c]), acc[k]);
    acc[k] = hn::Add(acc[k], odd[k]);
  }
}

/// Rows first to first + n of x times one tile; only the first `rows` results are stored.
template <class Block, std::size_t n>
HWY_NOINLINE void multiply_inputs(const std::byte* tile, const Inputs& in, std::size_t first,
                                  std::size_t rows, float* y, std::size_t ldy) {
  const Floats d;
  for (std::size_t lane = 0; lane < rows; lane += hn::Lanes(d)) {
    Vector acc[n];
    for (std::size_t k = 0; k < n; ++k) acc[k] = hn::Zero(d);
    if constexpr (std::is_same_v<Block, F16Column>) {
      add_f16_tile<n>(tile, in, first, lane, acc);
    } else {
      add_tile<Block, n>(tile, in, first, lane, acc);
    }
    const std::size_t stored = std::min(hn::Lanes(d), rows - lane);
    for (std::size_t k = 0; k < n; ++k) {
      HWY_ALIGN float lanes[kTileRows];
      hn::Store(acc[k], d, lanes);
      std::copy_n(lanes, stored, y + (first + k) * ldy + lane);
    }
  }
}

/// Passes over the weights serve up to 4 rows of x: their 8 chains and 4 totals fit 16 registers.
template <class Block>
void multiply_block_tile(const std::byte* tile, const Inputs& in, std::size_t rows, float* y,
                         std::size_t ldy) {
  std::size_t i = 0;
  for (; i + 4 <= in.n; i += 4) multiply_inputs<Block, 4>(tile, in, i, rows, y, ldy);
  if (i + 2 <= in.n) {
    multiply_inputs<Block, 2>(tile, in, i, rows, y, ldy);
    i += 2;
  }
  if (i < in.n) multiply_inputs<Block, 1>(tile, in, i, rows, y, ldy);
}

/// Calls f with a value of the block type of `kind`.
template <class F>
HWY_INLINE void visit_block(TileKind kind, F&& f) {
  switch (kind) {
    case TileKind::kQ4_0:
      return f(Q4Block<TileKind::kQ4_0>());
    case TileKind::kQ4_1:
      return f(Q4Block<TileKind::kQ4_1>());
    case TileKind::kQ8_0:
      return f(Q8Block());
    case TileKind::kF16:
      return f(F16Column());
    case TileKind::kNone:
      break;
  }
}

void multiply_tile(TileKind kind, const std::byte* tile, const Inputs& in, std::size_t rows, float* y,
                   std::size_t ldy) {
  visit_block(kind,
              [&](auto block) HWY_ATTR { multiply_block_tile<decltype(block)>(tile, in, rows, y, ldy); });
}

void unpack_tile(TileKind kind, const std::byte* tile, std::size_t cols, float* out, std::size_t ld) {
  visit_block(kind, [&](auto block) HWY_ATTR {
    for (std::size_t lane = 0; lane < kTileRows; lane += hn::Lanes(Floats())) {
      unpack_lanes<decltype(block)>(tile, cols, lane, out, ld);
    }
  });
}

float dot(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, std::size_t n) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  auto sum0 = hn::Zero(d);
  auto sum1 = hn::Zero(d);
  std::size_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    sum0 = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum0);
    sum1 = hn::MulAdd(hn::LoadU(d, a + i + lanes), hn::LoadU(d, b + i + lanes), sum1);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void block_sums(const float* x, std::size_t n, std::size_t cols, float* sums) {
  const Floats d;
  const std::size_t n_blocks = cols / kQuantColumns;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t b = 0; b < n_blocks; ++b) {
      const float* from = x + i * cols + b * kQuantColumns;
      auto sum = hn::Zero(d);
      for (std::size_t c = 0; c < kQuantColumns; c += hn::Lanes(d))
        sum = hn::Add(sum, hn::LoadU(d, from + c));
      sums[i * n_blocks + b] = hn::GetLane(hn::SumOfLanes(d, sum));
    }
  }
}

}  // namespace miser::nn::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::nn {

HWY_EXPORT(block_sums);
HWY_EXPORT(multiply_tile);
HWY_EXPORT(unpack_tile);
HWY_EXPORT(dot);

void block_sums(const float* x, std::size_t n, std::size_t cols, float* sums) {
  HWY_DYNAMIC_DISPATCH(block_sums)(x, n, cols, sums);
}

void multiply_tile(TileKind kind, const std::byte* tile, const Inputs& inputs, std::size_t rows, float* y,
                   std::size_t ldy) {
  HWY_DYNAMIC_DISPATCH(multiply_tile)(kind, tile, inputs, rows, y, ldy);
}

void unpack_tile(TileKind kind, const std::byte* tile, std::size_t cols, float* out, std::size_t ld) {
  HWY_DYNAMIC_DISPATCH(unpack_tile)(kind, tile, cols, out, ld);
}

float dot(const float* a, const float* b, std::size_t n) {
  return HWY_DYNAMIC_DISPATCH(dot)(a, b, n);
}

}  // namespace miser::nn
#endif  // HWY_ONCE
