// Blocks of tiles (nn/tiles.h) in vectors. Included once per Highway target.
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
#include "nn/pair_products-inl.h"
#include "nn/tiles.h"

MISER_BEFORE_NAMESPACE();
namespace miser::nn::HWY_NAMESPACE {

HWY_INLINE const std::uint16_t* halves(const std::byte* bytes) {
  return reinterpret_cast<const std::uint16_t*>(bytes);
}

// One struct per tile kind: `scale` and `offset` of a block, its codes as floats, one column per call
// f(column, w), where w = scale * code + offset; and integer products of its codes with the level pairs of n
// rows of x. `lane` is the first row of the vectors, of `n_parts` that lie side by side.

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
  /// Nibbles of columns 8 group to 8 group + 8, the first lowest.
  static HWY_INLINE hn::Vec<hn::RebindToUnsigned<Floats>> codes(const std::byte* block, std::size_t lane,
                                                                std::size_t group) {
    const auto* from =
        reinterpret_cast<const std::uint32_t*>(block + block_bytes(kind) - kTileRows * kQuantColumns / 2);
    return hn::LoadU(hn::RebindToUnsigned<Floats>(), from + group * kTileRows + lane);
  }
  template <class F>
  static HWY_INLINE void for_each_column(const std::byte* block, std::size_t lane, F&& f) {
    for (std::size_t group = 0; group < 4; ++group) {
      auto v = codes(block, lane, group);
      for (std::size_t i = 0; i < 8; ++i) {
        const auto nibble = hn::And(hn::BitCast(Ints(), v), hn::Set(Ints(), 0xF));
        f(group * 8 + i, hn::ConvertTo(Floats(), nibble));
        v = hn::ShiftRight<4>(v);
      }
    }
  }
  template <std::size_t n, std::size_t n_parts>
  static HWY_INLINE void multiply(const std::byte* block, std::size_t lane,
                                  const BlockInputs<std::int32_t, n>& pairs, Sums (&sums)[n][n_parts]) {
    const Ints di;
    const auto even_nibbles = hn::Set(di, 0x000F000F);
    const auto odd_nibbles = hn::Set(di, 0x00F000F0);
    const auto add = [&](std::size_t step, bool odd, Sums(&to)[n][n_parts]) HWY_ATTR {
      Sums w[n_parts];
      for (std::size_t part = 0; part < n_parts; ++part) {
        const auto all = codes(block, lane + part * hn::Lanes(di), step / 2);
        const auto v = hn::BitCast(di, step % 2 == 0 ? all : hn::ShiftRight<8>(all));
        w[part] = hn::And(v, odd ? odd_nibbles : even_nibbles);
      }
      for (std::size_t k = 0; k < n; ++k) {
        const auto x = hn::Set(di, pairs(k, 2 * step + (odd ? 1 : 0)));
        for (std::size_t part = 0; part < n_parts; ++part) to[k][part] = add_pairs(to[k][part], w[part], x);
      }
    };
    for (auto& of_row : sums)
      for (Sums& sum : of_row) sum = hn::Zero(di);
    // Odd nibbles stay where they are: their products are sixteenfold. Many rows add them up first. Of few
    // rows they have sums apart, as more chains hide more latency.
    if constexpr (n * n_parts >= 8) {
      HWY_UNROLL(8)
      for (std::size_t step = 0; step < 8; ++step) add(step, true, sums);
      for (auto& of_row : sums)
        for (Sums& sum : of_row) sum = hn::ShiftRight<4>(sum);
      HWY_UNROLL(8)
      for (std::size_t step = 0; step < 8; ++step) add(step, false, sums);
    } else {
      Sums sixteenfold[n][n_parts];
      for (auto& of_row : sixteenfold)
        for (Sums& sum : of_row) sum = hn::Zero(di);
      HWY_UNROLL(8)
      for (std::size_t step = 0; step < 8; ++step) {
        add(step, false, sums);
        add(step, true, sixteenfold);
      }
      for (std::size_t k = 0; k < n; ++k) {
        for (std::size_t part = 0; part < n_parts; ++part)
          sums[k][part] = hn::Add(sums[k][part], hn::ShiftRight<4>(sixteenfold[k][part]));
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
  /// Both codes of a pair, each as 16 bits.
  static HWY_INLINE Sums codes(const std::byte* block, std::size_t lane, std::size_t pair) {
    const auto* from = reinterpret_cast<const std::int8_t*>(block + kTileRows * sizeof(std::uint16_t)) +
                       (pair * kTileRows + lane) * 2;
#if HWY_TARGET == HWY_SCALAR
    return hn::Set(Ints(), (from[0] & 0xFFFF) | from[1] * 0x10000);
#else
    const hn::Repartition<std::int16_t, Ints> words;
    const hn::Rebind<std::int8_t, decltype(words)> bytes;
    return hn::BitCast(Ints(), hn::PromoteTo(words, hn::LoadU(bytes, from)));
#endif
  }
  template <class F>
  static HWY_INLINE void for_each_column(const std::byte* block, std::size_t lane, F&& f) {
    for (std::size_t pair = 0; pair < kPairs; ++pair) {
      const Sums both = codes(block, lane, pair);
      f(first_column(pair), hn::ConvertTo(Floats(), first_of(both)));
      f(first_column(pair) + kPairDistance, hn::ConvertTo(Floats(), second_of(both)));
    }
  }
  template <std::size_t n, std::size_t n_parts>
  static HWY_INLINE void multiply(const std::byte* block, std::size_t lane,
                                  const BlockInputs<std::int32_t, n>& pairs, Sums (&sums)[n][n_parts]) {
    const Ints di;
    for (auto& of_row : sums)
      for (Sums& sum : of_row) sum = hn::Zero(di);
    HWY_UNROLL(16)
    for (std::size_t pair = 0; pair < kPairs; ++pair) {
      Sums w[n_parts];
      for (std::size_t part = 0; part < n_parts; ++part)
        w[part] = codes(block, lane + part * hn::Lanes(di), pair);
      for (std::size_t k = 0; k < n; ++k) {
        const auto x = hn::Set(di, pairs(k, pair));
        for (std::size_t part = 0; part < n_parts; ++part)
          sums[k][part] = add_pairs(sums[k][part], w[part], x);
      }
    }
  }
};

/// Tag of the format whose block is one column of halves and needs neither scale nor offset.
struct F16Column {};

}  // namespace miser::nn::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
