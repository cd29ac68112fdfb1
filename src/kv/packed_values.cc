// Weighted sums of packed values: channels across the lanes, products with the weights of 4 tokens at a time.
#include <algorithm>
#include <cassert>
#include <utility>

#include "kv/packed.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kv/packed_values.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "hwy/highway.h"
#include "kv/packed_products-inl.h"
#include "kv/packed_weights-inl.h"

MISER_BEFORE_NAMESPACE();
namespace miser::kv::HWY_NAMESPACE {
namespace {

constexpr std::size_t kTokens = tile_tokens(SideKind::kValues);
constexpr int kChunks = kSlab / 16;
/// Chunks summed in one pass over the tiles: 16 registers hold 3 x 2 sums and what makes them, and so do the
/// 32 of AVX-512, where a sum takes two.
constexpr int kAbreast = HWY_ARCH_X86 ? 2 : kChunks;

template <int kBits, std::size_t kRows, int chunk>
HWY_INLINE void add_chunk(const TileLevels<kBits>& levels, const std::byte* slab, std::size_t lane,
                          const Factors* w, WeightedSums (&sums)[kRows]) {
  const auto products = value_products(levels.template value<chunk>(slab, lane));
  for (std::size_t r = 0; r < kRows; ++r) add_weighted(sums[r], products, w[r * kQuadRoom]);
}

/// Tiles of values, and where their sums go.
struct Tiles {
  const std::byte* bytes;
  std::size_t n;
  std::size_t n_slabs;
  const Factors* weights;  ///< [rows, kQuadRoom]
  std::int32_t* sums;      ///< [rows, n_slabs * kSlab]
};

/// Adds chunks first, first + 1, ... of one slab and register of all tiles.
template <int kBits, std::size_t kRows, int first, int... i>
HWY_INLINE void add_chunks(std::integer_sequence<int, i...>, const Tiles& tiles, std::size_t slab,
                           std::size_t lane, ReadAhead& ahead) {
  constexpr std::size_t kBytes = slab_bytes(SideKind::kValues, kBits);
  const TileLevels<kBits> levels;
  WeightedSums part[kAbreast][kRows];
  for (auto& of_chunk : part) std::fill(of_chunk, of_chunk + kRows, weighted_sums(0));
  for (std::size_t tile = 0; tile < tiles.n; ++tile) {
    ahead.step();
    const std::byte* const bytes = tiles.bytes + (tile * tiles.n_slabs + slab) * kBytes;
    (add_chunk<kBits, kRows, first + i>(levels, bytes, lane, tiles.weights + tile, part[i]), ...);
  }
  for (int c = 0; c < kAbreast; ++c) {
    std::int32_t* to = tiles.sums + slab * kSlab + (first + c) * 16 + lane / 4;
    for (std::size_t r = 0; r < kRows; ++r, to += tiles.n_slabs * kSlab) {
      store_sums(add_sums(load_sums(to), total(part[c][r])), to);
    }
  }
}

/// sums += weights times the tiles.
template <int kBits, std::size_t kRows>
HWY_NOINLINE void add_tiles(const Tiles& tiles, ReadAhead& ahead) {
  constexpr auto kPass = std::make_integer_sequence<int, kAbreast>();
  for (std::size_t s = 0; s < tiles.n_slabs; ++s) {
    for (std::size_t lane = 0; lane < kBlock; lane += kRegister) {
      add_chunks<kBits, kRows, 0>(kPass, tiles, s, lane, ahead);
      if constexpr (kAbreast < kChunks) add_chunks<kBits, kRows, kAbreast>(kPass, tiles, s, lane, ahead);
    }
  }
}

template <int kBits>
HWY_INLINE void add_tiles(const Tiles& tiles, std::size_t n_rows, ReadAhead& ahead) {
  switch (n_rows) {
    case 1:
      return add_tiles<kBits, 1>(tiles, ahead);
    case 2:
      return add_tiles<kBits, 2>(tiles, ahead);
    default:
      return add_tiles<kBits, kMaxValueRows>(tiles, ahead);
  }
}

HWY_INLINE void add_tiles(Width width, const Groups& groups, std::size_t n_rows, const Factors* w,
                          std::int32_t* sums, ReadAhead& ahead) {
  const std::size_t n = groups.tiled[static_cast<std::size_t>(width)] / kTokens;
  const Tiles tiles{groups.tiles(width), n, groups.n_slabs(), w, sums};
  switch (width) {
    case Width::k1:
      return add_tiles<1>(tiles, n_rows, ahead);
    case Width::k2:
      return add_tiles<2>(tiles, n_rows, ahead);
    case Width::k3:
      return add_tiles<3>(tiles, n_rows, ahead);
    case Width::k4:
      return add_tiles<4>(tiles, n_rows, ahead);
    case Width::k8:
      return add_tiles<8>(tiles, n_rows, ahead);
    case Width::k16:
      break;
  }
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
    if (n_ == 0) return;
    std::array<Factors, kMaxValueRows * kQuadRoom> factors;
    for (std::size_t r = 0; r < n_rows_; ++r) {
      std::fill(four_[r].begin() + n_, four_[r].end(), std::uint16_t{0});
      factors[r * kQuadRoom] = weight_factors(four_[r].data());
    }
    interleave_rows(levels(), channels_, levels() + channels_ * kTokens);
    ReadAhead nothing;
    add_tiles<8>({bytes_.data() + channels_ * kTokens, 1, channels_ / kSlab, factors.data(), sums_}, n_rows_,
                 nothing);
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

/// Vectors of 16 bits.
HWY_INLINE void add_exact(const Groups& groups, const float* weights, std::size_t ld, std::size_t n_rows,
                          const ValueSums& sums, PackedScratch& scratch) {
  const auto w = static_cast<std::size_t>(Width::k16);
  if (groups.count[w] == 0) return;
  scratch.halves.resize(groups.head_dim);
  for_each_token(
      groups.bytes, groups.n_tokens, Width::k16, [&](std::size_t token, std::size_t rank) HWY_ATTR {
        std::memcpy(scratch.halves.data(), groups.row(Width::k16, rank), groups.layout.payload_size[w]);
        for (std::size_t r = 0; r < n_rows; ++r) {
          add_scaled(weights[r * ld + token], groups.head_dim, HalfRow{scratch.halves.data()},
                     sums.plain + r * groups.head_dim);
        }
      });
}

/// Up to kMaxValueRows rows.
HWY_INLINE void add_coded(const Groups& groups, const float* weights, std::size_t ld, std::size_t n_rows,
                          const ValueSums& sums, PackedScratch& scratch, std::span<const std::byte> next) {
  const std::size_t channels = groups.n_slabs() * kSlab;
  GroupedWeights grouped;
  group_weights(groups, weights, ld, n_rows, grouped);
  scratch.sums.assign(n_rows * channels, 0);
  alignas(64) std::array<Factors, kMaxValueRows * kQuadRoom> factors;
  constexpr std::size_t kPasses = kBlock / kRegister * (kChunks / kAbreast);
  ReadAhead ahead(next, groups.n_tiled() / kTokens * groups.n_slabs() * kPasses);
  for (const Width width : groups.present()) {
    const auto w = static_cast<std::size_t>(width);
    for (std::size_t r = 0; r < n_rows; ++r) {
      make_factors(grouped.levels.data() + r * kWeightRoom + grouped.first[w], groups.tiled[w],
                   factors.data() + r * kQuadRoom);
    }
    add_tiles(width, groups, n_rows, factors.data(), scratch.sums.data(), ahead);
  }
  RowTile tile(groups, n_rows, grouped.levels.data(), scratch.sums.data(), scratch);
  add_rows(groups, grouped.first, tile);
  for (std::size_t r = 0; r < n_rows; ++r) {
    add_scaled(grouped.rows[r].unit, groups.head_dim, IntegerRow{scratch.sums.data() + r * channels},
               sums.rotated + r * groups.head_dim);
    sums.centred[r] += grouped.rows[r].sum;
  }
}

}  // namespace

void add_packed(const Segment& values, const Side& side, const float* weights, std::size_t ld,
                std::size_t n_rows, const ValueSums& sums, PackedScratch& scratch,
                std::span<const std::byte> next) {
  const Groups groups(values, side);
  for (std::size_t first = 0; first < n_rows; first += kMaxValueRows) {
    const std::size_t n = std::min(kMaxValueRows, n_rows - first);
    const ValueSums part{sums.plain + first * groups.head_dim, sums.rotated + first * groups.head_dim,
                         sums.centred + first};
    add_coded(groups, weights + first * ld, ld, n, part, scratch, next);
    add_exact(groups, weights + first * ld, ld, n, part, scratch);
    next = {};  // once is enough
  }
}

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::kv {

HWY_EXPORT(add_packed);

void add_values(const Segment& values, const Side& side, const float* weights, std::size_t ld,
                std::size_t n_rows, const ValueSums& sums, PackedScratch& scratch,
                std::span<const std::byte> next) {
  assert(n_rows <= kMaxPackedRows && ld >= padded_tokens(values.size()) && side.kind == SideKind::kValues);
  if (values.size() == 0) return;
  HWY_DYNAMIC_DISPATCH(add_packed)(values, side, weights, ld, n_rows, sums, scratch, next);
}

}  // namespace miser::kv
#endif  // HWY_ONCE
