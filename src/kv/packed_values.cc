// Weighted sums of packed values: channels across the lanes, products with the weights of 4 tokens at a time.
#include <algorithm>
#include <cassert>
#include <cfloat>
#include <utility>

#include "kv/packed.h"

#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kv/packed_values.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "hwy/highway.h"
#include "kv/packed_order-inl.h"

MISER_BEFORE_NAMESPACE();
namespace miser::kv::HWY_NAMESPACE {
namespace {

constexpr std::size_t kTokens = tile_tokens(SideKind::kValues);
constexpr std::size_t kChunks = kSlab / 16;
constexpr int kMaxWeight = 32767;  // 2^15 tokens of level 127 stay below 2^31 in sum
static_assert(Segment::kMaxTokens * kMaxWeight * 127 <= INT32_MAX);

template <int kBits, std::size_t kRows, int chunk>
HWY_INLINE void add_chunk(const TileLevels<kBits>& levels, const std::byte* slab, std::size_t lane,
                          const Factors* w, WeightedSums* sums) {
  const auto products = value_products(levels.template value<chunk>(slab, lane));
  for (std::size_t r = 0; r < kRows; ++r) add_weighted(sums[chunk * kRows + r], products, w[r * kQuadRoom]);
}

template <int kBits, std::size_t kRows, int... chunk>
HWY_INLINE void add_slab(std::integer_sequence<int, chunk...>, const TileLevels<kBits>& levels,
                         const std::byte* slab, std::size_t lane, const Factors* w, WeightedSums* sums) {
  (add_chunk<kBits, kRows, chunk>(levels, slab, lane, w, sums), ...);
}

/// sums [kRows, n_slabs * kSlab] += weights w [kRows, kQuadRoom] times n tiles.
template <int kBits, std::size_t kRows>
HWY_NOINLINE void add_tiles(const std::byte* tiles, std::size_t n, std::size_t n_slabs, const Factors* w,
                            std::int32_t* sums) {
  constexpr std::size_t kBytes = slab_bytes(SideKind::kValues, kBits);
  const TileLevels<kBits> levels;
  for (std::size_t s = 0; s < n_slabs; ++s) {
    for (std::size_t lane = 0; lane < kBlock; lane += kRegister) {
      WeightedSums part[kChunks * kRows];
      for (WeightedSums& sum : part) sum = weighted_sums(0);
      for (std::size_t tile = 0; tile < n; ++tile) {
        add_slab<kBits, kRows>(std::make_integer_sequence<int, kChunks>(), levels,
                               tiles + (tile * n_slabs + s) * kBytes, lane, w + tile, part);
      }
      for (std::size_t r = 0; r < kRows; ++r) {
        for (std::size_t c = 0; c < kChunks; ++c) {
          std::int32_t* const to = sums + (r * n_slabs + s) * kSlab + c * 16 + lane / 4;
          store_sums(add_sums(load_sums(to), total(part[c * kRows + r])), to);
        }
      }
    }
  }
}

template <int kBits>
HWY_INLINE void add_tiles(const std::byte* tiles, std::size_t n, std::size_t n_slabs, std::size_t n_rows,
                          const Factors* w, std::int32_t* sums) {
  switch (n_rows) {
    case 1:
      return add_tiles<kBits, 1>(tiles, n, n_slabs, w, sums);
    case 2:
      return add_tiles<kBits, 2>(tiles, n, n_slabs, w, sums);
    default:
      return add_tiles<kBits, kMaxValueRows>(tiles, n, n_slabs, w, sums);
  }
}

HWY_INLINE void add_tiles(Width width, const Groups& groups, std::size_t n_rows, const Factors* w,
                          std::int32_t* sums) {
  const std::byte* const tiles = groups.tiles(width);
  const std::size_t n = groups.tiled[static_cast<std::size_t>(width)] / kTokens;
  switch (width) {
    case Width::k1:
      return add_tiles<1>(tiles, n, groups.n_slabs(), n_rows, w, sums);
    case Width::k2:
      return add_tiles<2>(tiles, n, groups.n_slabs(), n_rows, w, sums);
    case Width::k3:
      return add_tiles<3>(tiles, n, groups.n_slabs(), n_rows, w, sums);
    case Width::k4:
      return add_tiles<4>(tiles, n, groups.n_slabs(), n_rows, w, sums);
    case Width::k8:
      return add_tiles<8>(tiles, n, groups.n_slabs(), n_rows, w, sums);
    case Width::k16:
      break;
  }
}

/// Weights of one row: weight times scale as 15-bit numbers, in the order of the groups.
struct RowWeights {
  float unit;  ///< of the numbers, 0 if there is nothing to add
  float sum;   ///< of the weights
};

/// out[t] = weights[t] * scale[t] / unit.
HWY_INLINE RowWeights quantise(const float* weights, const float* scale, std::size_t n, std::uint16_t* out) {
  const F32 d;
  const hn::RebindToUnsigned<F32> d32;
  const hn::Rebind<std::uint16_t, F32> d16;
  const std::size_t lanes = hn::Lanes(d);
  auto largest = hn::Zero(d);
  auto sum = hn::Zero(d);
  for (std::size_t i = 0; i < n; i += lanes) {
    const auto inside = hn::FirstN(d, n - i);
    const auto w = hn::IfThenElseZero(inside, hn::LoadU(d, weights + i));
    largest = hn::Max(largest, hn::IfThenElseZero(inside, hn::Mul(w, hn::LoadU(d, scale + i))));
    sum = hn::Add(sum, w);
  }
  const float max = hn::GetLane(hn::MaxOfLanes(d, largest));
  const bool any = max > kMaxWeight * FLT_MIN;  // so that its inverse is finite
  const auto inverse = hn::Set(d, any ? static_cast<float>(kMaxWeight) / max : 0.0F);
  const auto round = hn::Set(d, 0x1p23F);       // whose unit is 1: a sum's lowest bits are the rounded number
  for (std::size_t i = 0; i < n; i += lanes) {  // what is made of weights behind the last is not read
    const auto product = hn::Mul(hn::LoadU(d, weights + i), hn::LoadU(d, scale + i));
    const auto level = hn::BitCast(d32, hn::MulAdd(product, inverse, round));
    hn::StoreU(hn::TruncateTo(d16, level), d16, out + i);
  }
  return {any ? max / static_cast<float>(kMaxWeight) : 0.0F, hn::GetLane(hn::SumOfLanes(d, sum))};
}

/// Vectors that lie as rows, gathered into tiles of 8 bits whatever their width.
class RowTile {
 public:
  RowTile(const Groups& groups, std::size_t n_rows, const std::uint16_t* weights, std::int32_t* sums,
          PackedScratch& scratch)
      : channels_(groups.n_slabs() * kSlab),
        n_rows_(n_rows),
        weights_(weights),
        sums_(sums),
        bytes_(scratch.tile) {
    bytes_.resize(channels_ * 2 * kTokens);
  }

  /// `place` is that of its weight.
  void add(Width width, const std::byte* row, std::size_t head_dim, std::size_t place) {
    row_levels(width, row, head_dim, levels() + n_ * channels_);
    for (std::size_t r = 0; r < n_rows_; ++r) four_[r][n_] = weights_[r * kWeightRoom + place];
    if (++n_ == kTokens) flush();
  }

  void flush() {
    std::array<Factors, kMaxValueRows * kQuadRoom> factors;
    for (std::size_t r = 0; r < n_rows_; ++r) {
      std::fill(four_[r].begin() + n_, four_[r].end(), std::uint16_t{0});
      factors[r * kQuadRoom] = weight_factors(four_[r].data());
    }
    interleave_rows(levels(), channels_, levels() + channels_ * kTokens);
    add_tiles<8>(bytes_.data() + channels_ * kTokens, 1, channels_ / kSlab, n_rows_, factors.data(), sums_);
    n_ = 0;
  }

 private:
  std::uint8_t* levels() { return reinterpret_cast<std::uint8_t*>(bytes_.data()); }

  std::size_t channels_;
  std::size_t n_rows_;
  const std::uint16_t* weights_;  ///< [n_rows, kWeightRoom]
  std::int32_t* sums_;
  std::vector<std::byte>& bytes_;  ///< [kTokens, channels] levels, then the tile
  std::array<std::array<std::uint16_t, kTokens>, kMaxValueRows> four_{};
  std::size_t n_ = 0;
};

HWY_INLINE void add_rows(const Groups& groups, const std::array<std::size_t, kWidthCount>& first,
                         RowTile& tile) {
  for (const Width width : groups.present()) {
    const auto w = static_cast<std::size_t>(width);
    if (width == Width::k16) continue;
    for (std::size_t i = groups.tiled[w]; i < groups.count[w]; ++i) {
      tile.add(width, groups.row(width, i), groups.head_dim, first[w] + i);
    }
  }
  tile.flush();
}

/// out += factor * x.
template <class Load>
HWY_INLINE void add_scaled(float factor, std::size_t n, const Load& load, float* out) {
  const F32 d;
  std::size_t c = 0;
  for (; c + hn::Lanes(d) <= n; c += hn::Lanes(d)) {
    hn::StoreU(hn::MulAdd(hn::Set(d, factor), load(d, c), hn::LoadU(d, out + c)), d, out + c);
  }
  const hn::CappedTag<float, 1> one;
  for (; c < n; ++c) out[c] += factor * hn::GetLane(load(one, c));
}

struct IntegerRow {
  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D d, std::size_t i) const {
    return hn::ConvertTo(d, hn::LoadU(hn::RebindToSigned<D>(), row + i));
  }
  const std::int32_t* row;
};
struct HalfRow {
  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D d, std::size_t i) const {
    return nn::HWY_NAMESPACE::load_half(d, row + i);
  }
  const std::uint16_t* row;
};

/// Vectors of 16 bits; takes their weights out of `centred`.
HWY_INLINE void add_exact(const Groups& groups, const float* weights, std::size_t ld, std::size_t n_rows,
                          const ValueSums& sums, PackedScratch& scratch) {
  constexpr auto w = static_cast<std::size_t>(Width::k16);
  if (groups.count[w] == 0) return;
  scratch.halves.resize(groups.head_dim);
  for_each_token(
      groups.bytes, groups.n_tokens, Width::k16, [&](std::size_t token, std::size_t rank) HWY_ATTR {
        std::memcpy(scratch.halves.data(), groups.row(Width::k16, rank), groups.layout.payload_size[w]);
        for (std::size_t r = 0; r < n_rows; ++r) {
          add_scaled(weights[r * ld + token], groups.head_dim, HalfRow{scratch.halves.data()},
                     sums.plain + r * groups.head_dim);
          sums.centred[r] -= weights[r * ld + token];
        }
      });
}

/// Up to kMaxValueRows rows; `scale` [n_tokens] in token order.
HWY_INLINE void add_coded(const Groups& groups, const float* scale, const float* weights, std::size_t ld,
                          std::size_t n_rows, const ValueSums& sums, PackedScratch& scratch) {
  const std::size_t channels = groups.n_slabs() * kSlab;
  std::array<std::size_t, kWidthCount> first;
  std::size_t at = 0;
  for (std::size_t w = 0; w < kWidthCount; ++w) {
    first[w] = at;
    at += (groups.count[w] + 63U) / 32 * 32;  // a whole register may be written at its end
  }
  alignas(64) std::array<std::uint16_t, kMaxValueRows * kRoom> ordered;
  alignas(64) std::array<std::uint16_t, kMaxValueRows * kWeightRoom> grouped;
  alignas(64) std::array<Factors, kMaxValueRows * kQuadRoom> factors;
  std::array<float, kMaxValueRows> unit;
  for (std::size_t r = 0; r < n_rows; ++r) {
    const RowWeights row = quantise(weights + r * ld, scale, groups.n_tokens, ordered.data() + r * kRoom);
    unit[r] = row.unit;
    sums.centred[r] += row.sum;
  }
  switch (n_rows) {
    case 1:
      to_group_order<1>(groups, ordered.data(), first, grouped.data());
      break;
    case 2:
      to_group_order<2>(groups, ordered.data(), first, grouped.data());
      break;
    default:
      to_group_order<kMaxValueRows>(groups, ordered.data(), first, grouped.data());
  }
  for (std::size_t r = 0; r < n_rows; ++r) {
    for (const Width width : groups.present()) {
      const auto w = static_cast<std::size_t>(width);
      const std::size_t from = r * kWeightRoom + first[w];
      make_factors(grouped.data() + from, groups.tiled[w], factors.data() + from / 4);
    }
  }
  scratch.sums.assign(n_rows * channels, 0);
  for (const Width width : groups.present()) {
    add_tiles(width, groups, n_rows, factors.data() + first[static_cast<std::size_t>(width)] / 4,
              scratch.sums.data());
  }
  RowTile tile(groups, n_rows, grouped.data(), scratch.sums.data(), scratch);
  add_rows(groups, first, tile);
  for (std::size_t r = 0; r < n_rows; ++r) {
    add_scaled(unit[r], groups.head_dim, IntegerRow{scratch.sums.data() + r * channels},
               sums.rotated + r * groups.head_dim);
  }
}

}  // namespace

void add_packed(const Segment& values, const Side& side, const float* weights, std::size_t ld,
                std::size_t n_rows, const ValueSums& sums, PackedScratch& scratch) {
  const Groups groups(values, side);
  const GroupScales scales(groups, side.rule);
  alignas(64) std::array<float, kRoom> scale;
  to_token_order<1>(groups, scales.scale.data(), kRoom, scale.data(), kRoom);
  for (std::size_t first = 0; first < n_rows; first += kMaxValueRows) {
    const std::size_t n = std::min(kMaxValueRows, n_rows - first);
    const ValueSums part{sums.plain + first * groups.head_dim, sums.rotated + first * groups.head_dim,
                         sums.centred + first};
    add_coded(groups, scale.data(), weights + first * ld, ld, n, part, scratch);
    add_exact(groups, weights + first * ld, ld, n, part, scratch);
  }
}

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::kv {

HWY_EXPORT(add_packed);

void add_values(const Segment& values, const Side& side, const float* weights, std::size_t ld,
                std::size_t n_rows, const ValueSums& sums, PackedScratch& scratch) {
  assert(n_rows <= kMaxPackedRows && ld >= padded_tokens(values.size()) && side.kind == SideKind::kValues);
  if (values.size() == 0) return;
  HWY_DYNAMIC_DISPATCH(add_packed)(values, side, weights, ld, n_rows, sums, scratch);
}

}  // namespace miser::kv
#endif  // HWY_ONCE
