// Scores of packed keys: 16 tokens across the lanes, integer products with 4 channels of a query at a time.
#include "kv/packed.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kv/packed_keys.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "hwy/highway.h"
#include "kv/packed_order-inl.h"
#include "kv/packed_products-inl.h"

MISER_BEFORE_NAMESPACE();
namespace miser::kv::HWY_NAMESPACE {
namespace {

constexpr std::size_t kTokens = tile_tokens(SideKind::kKeys);
constexpr std::size_t kChunks = kSlab / 4;

/// Up to kMaxKeyRows rows of queries.
struct Queries {
  std::size_t n;
  std::size_t first;                           ///< among all rows
  const Factors* factors;                      ///< [n, n_slabs, kChunks]
  std::array<std::int32_t, kMaxKeyRows> bias;  ///< of the sums
};

/// Registers of tokens for which a factor is broadcast once: 2 x 4 sums and 2 x 2 products leave room in 16.
constexpr std::size_t kAbreast = kRegister < kBlock ? 2 : 1;

template <int kBits>
using KeyLevels = TileLevels<kBits, kKeyBias>;

template <int kBits, std::size_t kRows, int chunk>
HWY_INLINE void add_chunk(const KeyLevels<kBits>& levels, const std::byte* slab, std::size_t lane,
                          const Factors* q, std::size_t ld, WeightedSums (&sums)[kAbreast][kRows]) {
  for (std::size_t i = 0; i < kAbreast; ++i) {
    const auto products = key_products(levels.template key<chunk>(slab, lane + i * kRegister));
    for (std::size_t r = 0; r < kRows; ++r) add_key_product(sums[i][r], products, q[r * ld + chunk]);
  }
}

template <int kBits, std::size_t kRows, int... chunk>
HWY_INLINE void add_slab(std::integer_sequence<int, chunk...>, const KeyLevels<kBits>& levels,
                         const std::byte* slab, std::size_t lane, const Factors* q, std::size_t ld,
                         WeightedSums (&sums)[kAbreast][kRows]) {
  (add_chunk<kBits, kRows, chunk>(levels, slab, lane, q, ld, sums), ...);
}

/// out [kRows, kRoom] = integer scores of n_tiles tiles.
template <int kBits, std::size_t kRows>
HWY_NOINLINE void score_tiles(const std::byte* tiles, std::size_t n_tiles, std::size_t n_slabs,
                              const Queries& q, std::int32_t* out, ReadAhead& ahead) {
  const KeyLevels<kBits> levels;
  for (std::size_t tile = 0; tile < n_tiles; ++tile) {
    ahead.step();
    for (std::size_t lane = 0; lane < kBlock; lane += kAbreast * kRegister) {
      WeightedSums sums[kAbreast][kRows];
      for (auto& of_tokens : sums) {
        for (std::size_t r = 0; r < kRows; ++r) of_tokens[r] = weighted_sums(q.bias[r]);
      }
      for (std::size_t s = 0; s < n_slabs; ++s) {
        add_slab<kBits, kRows>(std::make_integer_sequence<int, kChunks>(), levels,
                               tiles + s * slab_bytes(SideKind::kKeys, kBits), lane, q.factors + s * kChunks,
                               n_slabs * kChunks, sums);
      }
      for (std::size_t i = 0; i < kAbreast; ++i) {
        std::int32_t* const to = out + tile * kTokens + (lane + i * kRegister) / 4;
        for (std::size_t r = 0; r < kRows; ++r) store_sums(total(sums[i][r]), to + r * kRoom);
      }
    }
    tiles += n_slabs * slab_bytes(SideKind::kKeys, kBits);
  }
}

template <int kBits>
HWY_INLINE void score_tiles(const std::byte* tiles, std::size_t n_tiles, std::size_t n_slabs,
                            const Queries& q, std::int32_t* out, ReadAhead& ahead) {
  switch (q.n) {
    case 1:
      return score_tiles<kBits, 1>(tiles, n_tiles, n_slabs, q, out, ahead);
    case 2:
      return score_tiles<kBits, 2>(tiles, n_tiles, n_slabs, q, out, ahead);
    case 3:
      return score_tiles<kBits, 3>(tiles, n_tiles, n_slabs, q, out, ahead);
    default:
      return score_tiles<kBits, kMaxKeyRows>(tiles, n_tiles, n_slabs, q, out, ahead);
  }
}

HWY_INLINE void score_tiles(Width width, const Groups& groups, const Queries& q, std::int32_t* out,
                            ReadAhead& ahead) {
  const auto w = static_cast<std::size_t>(width);
  const std::byte* const tiles = groups.tiles(width);
  const std::size_t n_tiles = groups.tiled[w] / kTokens;
  out += groups.first[w];
  switch (width) {
    case Width::k1:
      return score_tiles<1>(tiles, n_tiles, groups.n_slabs(), q, out, ahead);
    case Width::k2:
      return score_tiles<2>(tiles, n_tiles, groups.n_slabs(), q, out, ahead);
    case Width::k3:
      return score_tiles<3>(tiles, n_tiles, groups.n_slabs(), q, out, ahead);
    case Width::k4:
      return score_tiles<4>(tiles, n_tiles, groups.n_slabs(), q, out, ahead);
    case Width::k8:
      return score_tiles<8>(tiles, n_tiles, groups.n_slabs(), q, out, ahead);
    case Width::k16:
      break;
  }
}

/// out [kRows], kRoom apart = integer scores of a row of levels.
template <std::size_t kRows>
HWY_INLINE void score_row(const std::uint8_t* levels, const PackedQueries& q, std::size_t first,
                          std::size_t channels, std::int32_t* out) {
  const auto* const from = reinterpret_cast<const std::int8_t*>(levels);
#if HWY_TARGET == HWY_SCALAR
  for (std::size_t r = 0; r < kRows; ++r) {
    out[r * kRoom] = std::inner_product(from, from + channels, q.levels(first + r), std::int32_t{0});
  }
#else
  const I16 d;
  const hn::Rebind<std::int8_t, I16> d8;
  Sums sums[2][kRows];
  for (std::size_t r = 0; r < kRows; ++r) sums[0][r] = sums[1][r] = zero_sums();
  for (std::size_t c = 0; c < channels; c += hn::Lanes(d)) {
    const auto words = hn::PromoteTo(d, hn::LoadU(d8, from + c));
    for (std::size_t r = 0; r < kRows; ++r) {
      const auto query = hn::LoadU(d, q.levels(first + r) + c);
      sums[0][r] = hn::ReorderWidenMulAccumulate(I32(), words, query, sums[0][r], sums[1][r]);
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    out[r * kRoom] = hn::GetLane(hn::SumOfLanes(I32(), hn::Add(sums[0][r], sums[1][r])));
  }
#endif
}

/// out [kRows, kRoom] = integer scores of the vectors that lie as rows.
template <std::size_t kRows>
HWY_INLINE void score_rows(const Groups& groups, const PackedQueries& q, std::size_t first, std::int32_t* out,
                           PackedScratch& scratch) {
  const std::size_t channels = groups.n_slabs() * kSlab;
  scratch.tile.resize(channels);
  auto* const levels = reinterpret_cast<std::uint8_t*>(scratch.tile.data());
  for (const Width width : groups.present()) {
    const auto w = static_cast<std::size_t>(width);
    if (width == Width::k16) continue;
    for (std::size_t i = groups.tiled[w]; i < groups.count[w]; ++i) {
      row_levels(width, groups.row(width, i), groups.head_dim, levels);
      score_row<kRows>(levels, q, first, channels, out + groups.first[w] + i);
    }
  }
}

/// q . x of vectors of 16 bits.
HWY_INLINE void score_exact(const Groups& groups, const PackedQueries& q, const Queries& rows, float* out,
                            std::size_t ld, PackedScratch& scratch) {
  const auto w = static_cast<std::size_t>(Width::k16);
  const F32 d;
  scratch.halves.resize(groups.head_dim);
  for (std::size_t i = 0; i < groups.count[w]; ++i) {
    std::memcpy(scratch.halves.data(), groups.row(Width::k16, i), groups.layout.payload_size[w]);
    for (std::size_t r = 0; r < rows.n; ++r) {
      const float* const query = q.plain(rows.first + r);
      auto sum = hn::Zero(d);
      std::size_t c = 0;
      for (; c + hn::Lanes(d) <= groups.head_dim; c += hn::Lanes(d)) {
        const auto x = nn::HWY_NAMESPACE::load_half(d, scratch.halves.data() + c);
        sum = hn::MulAdd(x, hn::LoadU(d, query + c), sum);
      }
      float dot = hn::GetLane(hn::SumOfLanes(d, sum));
      for (; c < groups.head_dim; ++c) {
        const hn::CappedTag<float, 1> one;
        dot += hn::GetLane(nn::HWY_NAMESPACE::load_half(one, scratch.halves.data() + c)) * query[c];
      }
      out[r * ld + groups.first[w] + i] = dot;
    }
  }
}

/// Integer scores to floats: sum * query's scale * key's scale + q . centre - |q|^2 c scale^2. The last
/// register of a group reaches into the next one, which comes after it.
template <std::size_t kRows>
HWY_INLINE void finish_scores(const Groups& groups, const PackedQueries& q, const Queries& rows,
                              ScaleRule rule, const std::int32_t* sums, float* out, std::size_t ld) {
  const F32 d;
  hn::Vec<F32> centre[kRows];
  hn::Vec<F32> unit[kRows];
  hn::Vec<F32> norm2[kRows];
  for (const Width width : groups.present()) {
    if (width == Width::k16) continue;
    for (std::size_t r = 0; r < kRows; ++r) {
      centre[r] = hn::Set(d, q.centre_dot(rows.first + r));
      unit[r] = hn::Set(d, q.scale(rows.first + r) / level_gain(width));
      norm2[r] = hn::Set(d, q.norm2(rows.first + r) * score_correction(width, rule));
    }
    const auto w = static_cast<std::size_t>(width);
    const std::size_t first = groups.first[w];
    for (std::size_t i = 0; i < groups.count[w]; i += hn::Lanes(d)) {
      const auto scale = load_scales(groups, width, i);
      const auto square = hn::Mul(scale, scale);
      for (std::size_t r = 0; r < kRows; ++r) {
        const auto shift = hn::NegMulAdd(norm2[r], square, centre[r]);
        const auto sum = to_floats(load_sums(sums + r * kRoom + first + i));
        hn::StoreU(hn::MulAdd(sum, hn::Mul(unit[r], scale), shift), d, out + r * ld + first + i);
      }
    }
  }
}

/// scores [kRows, ld] in token order; `sums` has those of the tiles.
template <std::size_t kRows>
HWY_INLINE void finish(const Groups& groups, const PackedQueries& q, const Queries& rows, ScaleRule rule,
                       std::int32_t* sums, float* scores, std::size_t ld, PackedScratch& scratch) {
  score_rows<kRows>(groups, q, rows.first, sums, scratch);
  const auto in_groups = [&](float* out, std::size_t ld_out) HWY_ATTR {
    finish_scores<kRows>(groups, q, rows, rule, sums, out, ld_out);
    score_exact(groups, q, rows, out, ld_out, scratch);
  };
  if (groups.present().size() == 1) return in_groups(scores, ld);
  alignas(64) std::array<float, kMaxKeyRows * kRoom> ordered;
  in_groups(ordered.data(), kRoom);
  to_token_order<kRows>(groups, ordered.data(), kRoom, scores, ld);
}

}  // namespace

void score_keys(const Segment& keys, const Side& side, const PackedQueries& q, std::size_t first,
                std::size_t n, float* scores, std::size_t ld, PackedScratch& scratch,
                std::span<const std::byte> next) {
  const Groups groups(keys, side);
  const std::size_t channels = groups.n_slabs() * kSlab;
  Queries rows{n, first, nullptr, {}};
  scratch.factors.resize(n * channels / 4);
  for (std::size_t r = 0; r < n; ++r) {
    rows.bias[r] = -kKeyBias * q.level_sum(first + r);
    make_query_factors(q.levels(first + r), channels, scratch.factors.data() + r * channels / 4);
  }
  rows.factors = scratch.factors.data();
  alignas(64) std::array<std::int32_t, kMaxKeyRows * kRoom> sums;
  ReadAhead ahead(next, groups.n_tiled() / kTokens);
  for (const Width width : groups.present()) score_tiles(width, groups, rows, sums.data(), ahead);
  switch (n) {
    case 1:
      return finish<1>(groups, q, rows, side.rule, sums.data(), scores, ld, scratch);
    case 2:
      return finish<2>(groups, q, rows, side.rule, sums.data(), scores, ld, scratch);
    case 3:
      return finish<3>(groups, q, rows, side.rule, sums.data(), scores, ld, scratch);
    default:
      return finish<kMaxKeyRows>(groups, q, rows, side.rule, sums.data(), scores, ld, scratch);
  }
}

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::kv {

HWY_EXPORT(score_keys);

void key_scores(const Segment& keys, const Side& side, const PackedQueries& q, float* scores, std::size_t ld,
                PackedScratch& scratch, std::span<const std::byte> next) {
  assert(ld >= padded_tokens(keys.size()) && side.kind == SideKind::kKeys);
  if (keys.size() == 0) return;
  for (std::size_t first = 0; first < q.size(); first += kMaxKeyRows) {
    const std::size_t n = std::min(kMaxKeyRows, q.size() - first);
    HWY_DYNAMIC_DISPATCH(score_keys)(keys, side, q, first, n, scores + first * ld, ld, scratch, next);
    next = {};  // once is enough
  }
}

}  // namespace miser::kv
#endif  // HWY_ONCE
