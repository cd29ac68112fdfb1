#include "kv/segment_unpack.h"

#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kv/segment_unpack.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "hwy/highway.h"
#include "kv/packed_order-inl.h"

MISER_BEFORE_NAMESPACE();
namespace miser::kv::HWY_NAMESPACE {
namespace {

/// out [kRoom] = the scales in the order of the groups, divided by the gain of their width; 0 at 16 bits.
HWY_INLINE void group_scales(const Groups& groups, float* out) {
  const F32 d;
  for (const Width width : groups.present()) {
    const auto w = static_cast<std::size_t>(width);
    float* const to = out + groups.first[w];
    if (width == Width::k16) {
      std::fill(to, to + groups.count[w], 0.0F);
      continue;
    }
    const auto inverse = hn::Set(d, 1 / level_gain(width));
    for (std::size_t i = 0; i < groups.count[w]; i += hn::Lanes(d)) {
      hn::StoreU(hn::Mul(load_scales(groups, width, i), inverse), d, to + i);
    }
  }
}

/// A group on its way into the rows of a tile.
struct Group {
  const float* scale;          ///< [count] divided by the gain
  const std::uint16_t* token;  ///< [count]
  float* rows;                 ///< [n_tokens, head_dim]
  std::size_t head_dim;

  float* row(std::size_t i) const { return rows + token[i] * head_dim; }
};

/// out = scale * levels, n of them.
HWY_INLINE void store_levels(const std::uint8_t* levels, std::size_t n, float scale, float* out) {
  const F32 d;
  const hn::Rebind<std::int8_t, F32> d8;
  const auto s = hn::Set(d, scale);
  const auto* from = reinterpret_cast<const std::int8_t*>(levels);
  const std::size_t whole = n - n % hn::Lanes(d);
  for (std::size_t i = 0; i < whole; i += hn::Lanes(d)) {
    const auto wide = hn::PromoteTo(hn::RebindToSigned<F32>(), hn::LoadU(d8, from + i));
    hn::StoreU(hn::Mul(s, hn::ConvertTo(d, wide)), d, out + i);
  }
  for (std::size_t i = whole; i < n; ++i) out[i] = scale * static_cast<float>(from[i]);
}

template <int kBits, int... chunk>
HWY_INLINE void store_chunks(std::integer_sequence<int, chunk...>, const TileLevels<kBits>& levels,
                             const std::byte* slab, std::size_t lane, std::uint8_t* out) {
  (store_bytes(levels.template key<chunk>(slab, lane), out + chunk * kBlock + lane), ...);
}

template <int kBits>
HWY_INLINE void unpack_keys(const std::byte* tile, std::size_t first, const Group& group) {
  const TileLevels<kBits> levels;
  alignas(64) std::array<std::uint8_t, 16 * kBlock> turned;
  for (std::size_t channel = 0; channel < group.head_dim; channel += kSlab) {
    for (std::size_t lane = 0; lane < kBlock; lane += kRegister) {
      store_chunks<kBits>(std::make_integer_sequence<int, 16>(), levels, tile, lane, turned.data());
    }
    for (std::size_t c = 0; c < 4; ++c) turn_chunks(turned.data() + c * 4 * kBlock);
    for (std::size_t t = 0; t < tile_tokens(SideKind::kKeys); ++t) {
      float* const row = group.row(first + t) + channel;
      for (std::size_t c = 0; c < 4; ++c) {
        store_levels(turned.data() + c * 4 * kBlock + turned_place(t), 16, group.scale[first + t],
                     row + 16 * c);
      }
    }
    tile += slab_bytes(SideKind::kKeys, kBits);
  }
}

template <int t>
HWY_INLINE void store_token(Bytes levels, const Group& group, std::size_t first, std::size_t channel) {
  const F32 d;
  const auto y = hn::Mul(to_floats(sign_extended<t>(levels)), hn::Set(d, group.scale[first + t]));
  hn::StoreU(y, d, group.row(first + t) + channel);
}

template <int kBits, int chunk>
HWY_INLINE void store_chunk(const TileLevels<kBits>& levels, const std::byte* slab, std::size_t lane,
                            const Group& group, std::size_t first, std::size_t channel) {
  const Bytes v = levels.template value<chunk>(slab, lane);
  channel += 16 * chunk + lane / 4;
  store_token<0>(v, group, first, channel);
  store_token<1>(v, group, first, channel);
  store_token<2>(v, group, first, channel);
  store_token<3>(v, group, first, channel);
}

template <int kBits>
HWY_INLINE void unpack_values(const std::byte* tile, std::size_t first, const Group& group) {
  const TileLevels<kBits> levels;
  for (std::size_t channel = 0; channel < group.head_dim; channel += kSlab) {
    for (std::size_t lane = 0; lane < kBlock; lane += kRegister) {
      store_chunk<kBits, 0>(levels, tile, lane, group, first, channel);
      store_chunk<kBits, 1>(levels, tile, lane, group, first, channel);
      store_chunk<kBits, 2>(levels, tile, lane, group, first, channel);
      store_chunk<kBits, 3>(levels, tile, lane, group, first, channel);
    }
    tile += slab_bytes(SideKind::kValues, kBits);
  }
}

template <int kBits>
void unpack_group(const Groups& groups, Width width, SideKind kind, const Group& group) {
  const auto w = static_cast<std::size_t>(width);
  const std::size_t step = tile_tokens(kind);
  for (std::size_t i = 0; i < groups.tiled[w]; i += step) {
    if (kind == SideKind::kKeys) unpack_keys<kBits>(groups.row(width, i), i, group);
    if (kind == SideKind::kValues) unpack_values<kBits>(groups.row(width, i), i, group);
  }
  std::vector<std::uint8_t> levels(groups.n_slabs() * kSlab);
  for (std::size_t i = groups.tiled[w]; i < groups.count[w]; ++i) {
    row_levels<kBits>(groups.row(width, i), groups.head_dim, levels.data());
    store_levels(levels.data(), groups.head_dim, group.scale[i], group.row(i));
  }
}

}  // namespace

void unpack_groups(const Groups& groups, const Side& side, Tile& tile) {
  alignas(64) std::array<float, kRoom> scales;
  group_scales(groups, scales.data());
  std::array<std::uint16_t, Segment::kMaxTokens> tokens;
  for (const Width width : groups.present()) {
    const float* const scale = scales.data() + groups.first[static_cast<std::size_t>(width)];
    const float gain = level_gain(width);
    const float c = score_correction(width, side.rule);
    for_each_token(groups.bytes, groups.n_tokens, width, [&](std::size_t token, std::size_t rank) {
      tokens[rank] = static_cast<std::uint16_t>(token);
      tile.unit[token] = scale[rank];
      tile.correction[token] = c * (scale[rank] * gain) * (scale[rank] * gain);
    });
    const Group group{scale, tokens.data(), tile.rows.data(), groups.head_dim};
    switch (width) {
      case Width::k1:
        unpack_group<1>(groups, width, side.kind, group);
        break;
      case Width::k2:
        unpack_group<2>(groups, width, side.kind, group);
        break;
      case Width::k3:
        unpack_group<3>(groups, width, side.kind, group);
        break;
      case Width::k4:
        unpack_group<4>(groups, width, side.kind, group);
        break;
      case Width::k8:
        unpack_group<8>(groups, width, side.kind, group);
        break;
      case Width::k16:
        break;
    }
  }
}

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::kv {

HWY_EXPORT(unpack_groups);

void unpack_coded(const Groups& groups, const Side& side, Tile& tile) {
  HWY_DYNAMIC_DISPATCH(unpack_groups)(groups, side, tile);
}

}  // namespace miser::kv
#endif  // HWY_ONCE
