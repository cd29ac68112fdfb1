#include "nn/row_kernels.h"

#include <algorithm>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nn/row_kernels.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "hwy/highway.h"
#include "nn/tile_blocks-inl.h"

MISER_BEFORE_NAMESPACE();
namespace miser::nn::HWY_NAMESPACE {

/// acc += `n_parts` vectors of rows of one tile from `lane` on times rows first + k of x, k < n.
template <class Block, std::size_t n, std::size_t n_parts>
HWY_INLINE void add_tile(const std::byte* tile, const Inputs& in, std::size_t first, std::size_t lane,
                         Vector (&acc)[n][n_parts]) {
  const Floats d;
  const std::size_t n_blocks = in.cols / kQuantColumns;
  const std::size_t panel_size = BlockInputs<float, n>::kRows * n_blocks;
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const std::byte* const block = tile + b * block_bytes(Block::kKind);
    const BlockInputs<std::int32_t, n> pairs(&in.pairs[first * n_blocks * kPairs], panel_size * kPairs, b,
                                             kPairs);
    const BlockInputs<float, n> scales(&in.scales[first * n_blocks], panel_size, b, 1);
    const BlockInputs<float, n> sums(&in.sums[first * n_blocks], panel_size, b, 1);
    Sums products[n][n_parts];
    Block::multiply(block, lane, pairs, products);
    for (std::size_t part = 0; part < n_parts; ++part) {
      const std::size_t row = lane + part * hn::Lanes(d);
      const Vector scale = Block::scale(block, row);
      for (std::size_t k = 0; k < n; ++k) {
        const Vector unit = hn::Mul(scale, hn::Set(d, scales(k)));
        acc[k][part] = hn::MulAdd(unit, hn::ConvertTo(d, products[k][part]), acc[k][part]);
      }
      if constexpr (Block::kHasOffset) {
        const Vector offset = Block::offset(block, row, scale);
        for (std::size_t k = 0; k < n; ++k)
          acc[k][part] = hn::MulAdd(offset, hn::Set(d, sums(k)), acc[k][part]);
      }
    }
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
    Block::for_each_column(block, lane, [&](std::size_t c, Vector w) HWY_ATTR {
      hn::StoreU(hn::MulAdd(scale, w, offset), d, to + c * ld);
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
                             Vector (&acc)[n][1]) {
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
      acc[k][0] = hn::MulAdd(w0, hn::Set(d, x[k * in.cols + c]), acc[k][0]);
      odd[k] = hn::MulAdd(w1, hn::Set(d, x[k * in.cols + c + 1]), odd[k]);
    }
  }
  for (std::size_t k = 0; k < n; ++k) {
    if (c < in.cols)
      acc[k][0] = hn::MulAdd(load_half(d, w + c * kTileRows), hn::Set(d, x[k * in.cols + c]), acc[k][0]);
    acc[k][0] = hn::Add(acc[k][0], odd[k]);
  }
}

/// y = the first `rows` lanes of a vector, or all.
HWY_INLINE void store_rows(Vector v, float* y, std::size_t rows) {
  const Floats d;
  if (rows >= hn::Lanes(d)) return hn::StoreU(v, d, y);
  HWY_ALIGN float lanes[kTileRows];
  hn::Store(v, d, lanes);
  std::copy_n(lanes, rows, y);
}

/// Rows first to first + n of x times one tile; only the first `rows` results are stored.
template <class Block, std::size_t n>
HWY_NOINLINE void multiply_inputs(const std::byte* tile, const Inputs& in, std::size_t first,
                                  std::size_t rows, float* y, std::size_t ldy) {
  const Floats d;
  constexpr bool kIsF16 = std::is_same_v<Block, F16Column>;
  // Two parts share what is broadcast of x, where their sums fit 16 registers.
  constexpr std::size_t kParts = kIsF16 || n > 2 || hn::MaxLanes(d) == kTileRows ? 1 : 2;
  for (std::size_t lane = 0; lane < rows; lane += kParts * hn::Lanes(d)) {
    Vector acc[n][kParts];
    HWY_UNROLL(16)
    for (std::size_t k = 0; k < n; ++k) {
      HWY_UNROLL(2)
      for (std::size_t part = 0; part < kParts; ++part) acc[k][part] = hn::Zero(d);
    }
    if constexpr (kIsF16) {
      add_f16_tile<n>(tile, in, first, lane, acc);
    } else {
      add_tile<Block>(tile, in, first, lane, acc);
    }
    HWY_UNROLL(16)
    for (std::size_t k = 0; k < n; ++k) {
      HWY_UNROLL(2)
      for (std::size_t part = 0; part < kParts; ++part) {
        const std::size_t row = lane + part * hn::Lanes(d);
        store_rows(acc[k][part], y + (first + k) * ldy + row, rows - std::min(row, rows));
      }
    }
  }
}

/// Most rows of x that a pass over the weights serves: their sums and totals fit 32 registers or 16, and
/// enough chains hide the latency of products.
#if HWY_TARGET == HWY_AVX3_DL
constexpr std::size_t kPassRows = 3 * kPanelRows;
#else
constexpr std::size_t kPassRows = kPanelRows;
#endif

template <class Block>
void multiply_block_tile(const std::byte* tile, const Inputs& in, std::size_t first, std::size_t n,
                         std::size_t rows, float* y, std::size_t ldy) {
  const std::size_t end = first + n;
  const auto pass = [&](auto n_inputs) HWY_ATTR {
    for (; first + n_inputs() <= end; first += n_inputs())
      multiply_inputs<Block, n_inputs()>(tile, in, first, rows, y, ldy);
  };
  pass(std::integral_constant<std::size_t, kPassRows>());
  pass(std::integral_constant<std::size_t, kPanelRows>());
  pass(std::integral_constant<std::size_t, 2>());
  pass(std::integral_constant<std::size_t, 1>());
}

bool takes_many_rows() {
  return HWY_TARGET == HWY_AVX3_DL;
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

void multiply_tile(TileKind kind, const std::byte* tile, const Inputs& in, std::size_t first, std::size_t n,
                   std::size_t rows, float* y, std::size_t ldy) {
  visit_block(kind, [&](auto block)
                        HWY_ATTR { multiply_block_tile<decltype(block)>(tile, in, first, n, rows, y, ldy); });
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

}  // namespace miser::nn::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::nn {

HWY_EXPORT(takes_many_rows);
HWY_EXPORT(multiply_tile);
HWY_EXPORT(unpack_tile);
HWY_EXPORT(dot);

bool takes_many_rows() {
  return HWY_DYNAMIC_DISPATCH(takes_many_rows)();
}

void multiply_tile(TileKind kind, const std::byte* tile, const Inputs& inputs, std::size_t first,
                   std::size_t n, std::size_t rows, float* y, std::size_t ldy) {
  HWY_DYNAMIC_DISPATCH(multiply_tile)(kind, tile, inputs, first, n, rows, y, ldy);
}

void unpack_tile(TileKind kind, const std::byte* tile, std::size_t cols, float* out, std::size_t ld) {
  HWY_DYNAMIC_DISPATCH(unpack_tile)(kind, tile, cols, out, ld);
}

float dot(const float* a, const float* b, std::size_t n) {
  return HWY_DYNAMIC_DISPATCH(dot)(a, b, n);
}

}  // namespace miser::nn
#endif  // HWY_ONCE
