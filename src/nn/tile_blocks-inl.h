// Blocks of tiles (nn/tiles.h) as vectors of floats. Included once per Highway target.
#if defined(MISER_NN_TILE_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MISER_NN_TILE_BLOCKS_INL_H_
#undef MISER_NN_TILE_BLOCKS_INL_H_
#else
#define MISER_NN_TILE_BLOCKS_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "nn/half-inl.h"
#include "nn/tiles.h"

HWY_BEFORE_NAMESPACE();
namespace miser::nn::HWY_NAMESPACE {

// 16 lanes where the CPU has them; narrower vectors take a tile in several passes, which read it from L1.
using Floats = hn::CappedTag<float, kTileRows>;
using Vector = hn::Vec<Floats>;

HWY_INLINE const std::uint16_t* halves(const std::byte* bytes) {
  return reinterpret_cast<const std::uint16_t*>(bytes);
}

/// The lowest nibble of each lane as a float.
template <class V>
HWY_INLINE Vector nibble_to_float(V codes) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
#if HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86 && !HWY_IS_DEBUG_BUILD
  // One permute instead of mask and conversion: it ignores the bits above the index.
  HWY_ALIGN static constexpr float kLevels[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return hn::TableLookupLanes(hn::Load(d, kLevels), hn::IndicesFromVec(d, hn::BitCast(di, codes)));
#else
  return hn::ConvertTo(d, hn::And(hn::BitCast(di, codes), hn::Set(di, 0xF)));
#endif
}

// One struct per tile kind: `scale` and `offset` of a block, and its codes as floats, two columns per call
// f(column, w0, w1); w = scale * code + offset. `lane` is the first row of the vectors.

template <TileKind kind>
struct Q4Block {
  static constexpr TileKind kKind = kind;
  static constexpr bool kHasOffset = true;

  static HWY_INLINE Vector scale(const std::byte* block, std::size_t lane) {
    return load_half(Floats(), halves(block) + lane);
  }
  static HWY_INLINE Vector offset(const std::byte* block, std::size_t lane, Vector scale) {
    if constexpr (kind == TileKind::kQ4_0) return hn::Mul(scale, hn::Set(Floats(), -8.0F));
    return load_half(Floats(), halves(block) + kTileRows + lane);
  }
  template <class F>
  static HWY_INLINE void for_each_pair(const std::byte* block, std::size_t lane, F&& f) {
    const hn::RebindToUnsigned<Floats> du;
    const auto* codes =
        reinterpret_cast<const std::uint32_t*>(block + block_bytes(kind) - kTileRows * kQuantColumns / 2);
    HWY_UNROLL(4)
    for (std::size_t group = 0; group < 4; ++group) {
      auto v = hn::LoadU(du, codes + group * kTileRows + lane);
      HWY_UNROLL(4)
      for (std::size_t i = 0; i < 8; i += 2) {
        f(group * 8 + i, nibble_to_float(v), nibble_to_float(hn::ShiftRight<4>(v)));
        v = hn::ShiftRight<8>(v);
      }
    }
  }
};

struct Q8Block {
  static constexpr TileKind kKind = TileKind::kQ8_0;
  static constexpr bool kHasOffset = false;

  static HWY_INLINE Vector scale(const std::byte* block, std::size_t lane) {
    return load_half(Floats(), halves(block) + lane);
  }
  static HWY_INLINE Vector column(const std::int8_t* codes) {
    const Floats d;
    const hn::Rebind<std::int8_t, Floats> d8;
    return hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<Floats>(), hn::LoadU(d8, codes)));
  }
  template <class F>
  static HWY_INLINE void for_each_pair(const std::byte* block, std::size_t lane, F&& f) {
    const auto* codes =
        reinterpret_cast<const std::int8_t*>(block + kTileRows * sizeof(std::uint16_t)) + lane;
    HWY_UNROLL(4)
    for (std::size_t c = 0; c < kQuantColumns; c += 2) {
      f(c, column(codes + c * kTileRows), column(codes + (c + 1) * kTileRows));
    }
  }
};

/// Tag of the format whose block is one column of halves and needs neither scale nor offset.
struct F16Column {};

}  // namespace miser::nn::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
