// Levels of the codes of tiles and rows (docs/cache-layout.md). Included once per Highway target.
#if defined(MISER_KV_PACKED_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MISER_KV_PACKED_CODES_INL_H_
#undef MISER_KV_PACKED_CODES_INL_H_
#else
#define MISER_KV_PACKED_CODES_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kv/packed_ops-inl.h"
#include "kv/segment_tiles.h"

MISER_BEFORE_NAMESPACE();
namespace miser::kv::HWY_NAMESPACE {

/// Bytes of a slab of a tile.
constexpr std::size_t slab_bytes(SideKind kind, int n_bits) {
  return tile_tokens(kind) * kSlab / 8 * static_cast<std::size_t>(n_bits);
}

/// Levels of a slab of a tile, one chunk of 64 slots at a time; `lane` is the first slot of the register.
template <int kBits>
class TileLevels {
 public:
  /// Keys: 16 chunks of 4 channels, 16 tokens of 4 channels each.
  template <int chunk>
  HWY_INLINE Bytes key(const std::byte* slab, std::size_t lane) const {
    return lookup_(key_code<chunk>(slab + lane));
  }
  /// Values: 4 chunks of 16 channels, 16 channels of 4 tokens each.
  template <int chunk>
  HWY_INLINE Bytes value(const std::byte* slab, std::size_t lane) const {
    return lookup_(value_code<chunk>(slab, lane));
  }

 private:
  template <int chunk, int kPlaneBits>
  static HWY_INLINE Bytes block_of(const std::byte* plane) {
    return load(plane + chunk * kPlaneBits / 8 * kBlock);
  }
  template <int chunk>
  static HWY_INLINE Bytes key_code(const std::byte* slab) {
    if constexpr (kBits == 3) {
      const Bytes upper = block_of<chunk, 1>(slab + 4 * kBlock);
      return select(3, shift_right<chunk % 4 * 2>(block_of<chunk, 2>(slab)),
                    shift_right<chunk % 8 - 2>(upper));
    } else {
      return shift_right<chunk * kBits % 8>(block_of<chunk, kBits>(slab));
    }
  }
  template <int chunk>
  static HWY_INLINE Bytes value_code(const std::byte* slab, std::size_t lane) {
    if constexpr (kBits == 1) {
      return shift_right<chunk>(load_halves(slab, lane));
    } else if constexpr (kBits == 3) {
      const Bytes lower = shift_right<2 * chunk>(load(slab + lane));
      return select(3, lower, shift_right<chunk - 2>(load_halves(slab + kBlock, lane)));
    } else {
      return shift_right<chunk * kBits % 8>(block_of<chunk, kBits>(slab + lane));
    }
  }

  Lookup<kBits> lookup_;
};

template <>
class TileLevels<8> {
 public:
  template <int chunk>
  HWY_INLINE Bytes key(const std::byte* slab, std::size_t lane) const {
    return load(slab + chunk * kBlock + lane);
  }
  template <int chunk>
  HWY_INLINE Bytes value(const std::byte* slab, std::size_t lane) const {
    return load(slab + chunk * kBlock + lane);
  }
};

/// Levels of one row, zero from head_dim up to the next whole slab.
template <int kBits>
HWY_INLINE void row_levels(const std::byte* row, std::size_t head_dim, std::uint8_t* levels) {
  const std::size_t padded = (head_dim + kSlab - 1) / kSlab * kSlab;
  spread_row<kBits>(row, head_dim, levels);
  if constexpr (kBits < 8) {
    const Lookup<kBits> lookup;
    for (std::size_t i = 0; i < padded; i += kRegister) {
      store_bytes(lookup(load(reinterpret_cast<const std::byte*>(levels) + i)), levels + i);
    }
  }
  std::fill(levels + head_dim, levels + padded, std::uint8_t{0});
}

HWY_INLINE void row_levels(Width width, const std::byte* row, std::size_t head_dim, std::uint8_t* levels) {
  switch (width) {
    case Width::k1:
      return row_levels<1>(row, head_dim, levels);
    case Width::k2:
      return row_levels<2>(row, head_dim, levels);
    case Width::k3:
      return row_levels<3>(row, head_dim, levels);
    case Width::k4:
      return row_levels<4>(row, head_dim, levels);
    case Width::k8:
      return row_levels<8>(row, head_dim, levels);
    case Width::k16:
      break;
  }
}

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
