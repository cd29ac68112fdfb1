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

#include "base/divide_up.h"
#include "kv/packed_ops-inl.h"
#include "kv/segment_tiles.h"

MISER_BEFORE_NAMESPACE();
namespace miser::kv::HWY_NAMESPACE {

/// Bytes of a slab of a tile.
constexpr std::size_t slab_bytes(SideKind kind, int n_bits) {
  return tile_tokens(kind) * kSlab / 8 * static_cast<std::size_t>(n_bits);
}

/// Levels of a slab of a tile, plus kBias, one chunk of 64 slots at a time; `lane` is the first slot of the
/// register.
template <int kBits, int kBias = 0>
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

  Lookup<kBits, kBias> lookup_;
};

template <int kBias>
class TileLevels<8, kBias> {
  static_assert(kBias == 0 || kBias == 128, "128 more is the upper bit turned");

 public:
  template <int chunk>
  HWY_INLINE Bytes key(const std::byte* slab, std::size_t lane) const {
    const Bytes levels = load(slab + chunk * kBlock + lane);
    return kBias == 0 ? levels : turn_bits(levels, kBias);
  }
  template <int chunk>
  HWY_INLINE Bytes value(const std::byte* slab, std::size_t lane) const {
    return key<chunk>(slab, lane);
  }
};

#if HWY_TARGET == HWY_AVX3_DL

/// For 64 codes in the low bytes of a register: the bytes of 8 codes for each 64-bit lane, and where each of
/// them begins.
template <int kBits>
struct RowShuffle {
  constexpr RowShuffle() {
    for (std::size_t i = 0; i < kSlab; ++i) {
      bytes[i] = static_cast<std::uint8_t>((i / 8 * kBits + i % 8) % kSlab);
      shifts[i] = static_cast<std::uint8_t>(i % 8 * kBits);
    }
  }
  std::array<std::uint8_t, kSlab> bytes{};
  std::array<std::uint8_t, kSlab> shifts{};
};

template <int kBits>
HWY_INLINE void unpack_row(const std::byte* row, std::size_t head_dim, std::uint8_t* levels) {
  static constexpr RowShuffle<kBits> kShuffle;
  const Lookup<kBits> lookup;
  const auto bytes = hn::LoadU(U8(), kShuffle.bytes.data());
  const auto shifts = hn::LoadU(U8(), kShuffle.shifts.data());
  for (std::size_t c = 0; c < head_dim; c += kSlab) {
    const std::size_t n_bytes = (std::min(kSlab, head_dim - c) + 7) / 8 * kBits;
    const auto mask = static_cast<__mmask64>((std::uint64_t{1} << n_bytes) - 1);
    const __m512i packed = _mm512_maskz_loadu_epi8(mask, row + c / 8 * kBits);
    const __m512i spread = _mm512_permutexvar_epi8(bytes.raw, packed);
    store_bytes(lookup(Bytes{_mm512_multishift_epi64_epi8(shifts.raw, spread)}), levels + c);
  }
}

#elif HWY_TARGET == HWY_SCALAR

template <int kBits>
HWY_INLINE void unpack_row(const std::byte* row, std::size_t head_dim, std::uint8_t* levels) {
  const Lookup<kBits> lookup;
  spread_row<kBits>(row, head_dim, levels);
  for (std::size_t i = 0; i < head_dim; i += kRegister) {
    store_bytes(lookup(load(reinterpret_cast<const std::byte*>(levels) + i)), levels + i);
  }
}

#else

/// For 16 codes in the low bytes of a register: the two bytes that each code of 8 lies in, and the power of
/// two that moves its last bit to the end of them.
template <int kBits>
struct RowShuffle {
  constexpr RowShuffle() {
    for (std::size_t i = 0; i < 16; ++i) {
      const std::size_t bit = i * kBits;
      bytes[i / 8][2 * (i % 8)] = static_cast<std::uint8_t>(bit / 8);
      bytes[i / 8][2 * (i % 8) + 1] = static_cast<std::uint8_t>(bit / 8 + 1);
      factors[i % 8] = static_cast<std::uint16_t>(1U << (16 - kBits - bit % 8));
    }
  }
  alignas(16) std::uint8_t bytes[2][16]{};
  alignas(16) std::uint16_t factors[8]{};
};

template <int kBits>
HWY_INLINE void unpack_row(const std::byte* row, std::size_t head_dim, std::uint8_t* levels) {
  static constexpr RowShuffle<kBits> kShuffle;
  const hn::FixedTag<std::uint8_t, 16> d;
  const hn::FixedTag<std::uint16_t, 8> d16;
  const hn::Half<decltype(d)> half;
  const auto table = hn::LoadU(d, kLevelTable<kBits, 0>.data());
  const auto factors = hn::Load(d16, kShuffle.factors);
  const auto codes = [&](auto packed, std::size_t i) HWY_ATTR {
    const auto pairs = hn::BitCast(d16, hn::TableLookupBytes(packed, hn::Load(d, kShuffle.bytes[i])));
    const auto words = hn::ShiftRight<16 - kBits>(hn::Mul(pairs, factors));
    return hn::DemoteTo(half, hn::BitCast(hn::RebindToSigned<decltype(d16)>(), words));
  };
  for (std::size_t c = 0; c < head_dim; c += 16, row += 2 * kBits) {
    const std::uint64_t word = head_dim - c > 8 ? load_bytes<2 * kBits>(row) : load_bytes<kBits>(row);
    const auto packed = hn::BitCast(d, hn::Set(hn::FixedTag<std::uint64_t, 2>(), word));
    const auto both = hn::Combine(d, codes(packed, 1), codes(packed, 0));
    hn::StoreU(hn::TableLookupBytes(table, both), d, levels + c);
  }
}

#endif

/// Levels of one row, zero from head_dim up to the next whole slab.
template <int kBits>
HWY_INLINE void row_levels(const std::byte* row, std::size_t head_dim, std::uint8_t* levels) {
  if constexpr (kBits == 8) {
    std::memcpy(levels, row, head_dim);
  } else {
    unpack_row<kBits>(row, head_dim, levels);
  }
  std::fill(levels + head_dim, levels + divide_up(head_dim, kSlab) * kSlab, std::uint8_t{0});
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

/// Where 16 channels of a token lie in a turned block: token t is in 16 bytes of row t % 4.
constexpr std::size_t turned_place(std::size_t token) {
  return token % 4 * kBlock + token / 4 * 16;
}

/// 4 chunks of keys, [4 chunks][16 tokens][4 channels], to [4 rows of 4 tokens][16 channels] and back: 32-bit
/// lanes are transposed four by four, which is its own inverse.
HWY_INLINE void turn_chunks(std::uint8_t* block) {
#if HWY_TARGET == HWY_SCALAR
  std::array<std::uint8_t, 4 * kBlock> from;
  std::memcpy(from.data(), block, from.size());
  for (std::size_t chunk = 0; chunk < 4; ++chunk) {
    for (std::size_t t = 0; t < 16; ++t) {
      std::memcpy(block + turned_place(t) + 4 * chunk, from.data() + chunk * kBlock + 4 * t, 4);
    }
  }
#else
  const I32 d;
  const hn::Repartition<std::int64_t, U8> d64;
  auto* const lanes = reinterpret_cast<std::int32_t*>(block);
  constexpr std::size_t kRow = kBlock / 4;
  for (std::size_t i = 0; i < kRow; i += kRegister / 4) {
    const auto a = hn::LoadU(d, lanes + i);
    const auto b = hn::LoadU(d, lanes + kRow + i);
    const auto c = hn::LoadU(d, lanes + 2 * kRow + i);
    const auto e = hn::LoadU(d, lanes + 3 * kRow + i);
    const auto ab_low = hn::BitCast(d64, hn::InterleaveLower(d, a, b));
    const auto ab_high = hn::BitCast(d64, hn::InterleaveUpper(d, a, b));
    const auto ce_low = hn::BitCast(d64, hn::InterleaveLower(d, c, e));
    const auto ce_high = hn::BitCast(d64, hn::InterleaveUpper(d, c, e));
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, ab_low, ce_low)), d, lanes + i);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, ab_low, ce_low)), d, lanes + kRow + i);
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, ab_high, ce_high)), d, lanes + 2 * kRow + i);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, ab_high, ce_high)), d, lanes + 3 * kRow + i);
  }
#endif
}

/// Tile of values [channels][4 tokens] of `channels` levels each of 4 rows.
HWY_INLINE void interleave_rows(const std::uint8_t* rows, std::size_t channels, std::uint8_t* tile) {
#if HWY_TARGET == HWY_SCALAR
  for (std::size_t c = 0; c < channels; ++c) {
    for (std::size_t t = 0; t < 4; ++t) tile[4 * c + t] = rows[t * channels + c];
  }
#else
  const hn::FixedTag<std::uint8_t, 16> d;
  const hn::FixedTag<std::uint16_t, 8> d16;
  for (std::size_t c = 0; c < channels; c += 16) {
    const auto r0 = hn::LoadU(d, rows + c);
    const auto r1 = hn::LoadU(d, rows + channels + c);
    const auto r2 = hn::LoadU(d, rows + 2 * channels + c);
    const auto r3 = hn::LoadU(d, rows + 3 * channels + c);
    const auto low01 = hn::BitCast(d16, hn::InterleaveLower(d, r0, r1));
    const auto high01 = hn::BitCast(d16, hn::InterleaveUpper(d, r0, r1));
    const auto low23 = hn::BitCast(d16, hn::InterleaveLower(d, r2, r3));
    const auto high23 = hn::BitCast(d16, hn::InterleaveUpper(d, r2, r3));
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d16, low01, low23)), d, tile + 4 * c);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d16, low01, low23)), d, tile + 4 * c + 16);
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d16, high01, high23)), d, tile + 4 * c + 32);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d16, high01, high23)), d, tile + 4 * c + 48);
  }
#endif
}

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
