// Registers of packed codes and their levels. Included once per Highway target.
#if defined(MISER_KV_PACKED_OPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MISER_KV_PACKED_OPS_INL_H_
#undef MISER_KV_PACKED_OPS_INL_H_
#else
#define MISER_KV_PACKED_OPS_INL_H_
#endif

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "kv/packed_levels.h"
#include "kv/segment_tiles.h"
#include "nn/half-inl.h"
#include "nn/vnni-inl.h"

MISER_BEFORE_NAMESPACE();
namespace miser::kv::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

constexpr std::size_t kRegister = 4;  // bytes
using Bytes = std::uint32_t;
using Sums = std::int32_t;
using F32 = hn::ScalableTag<float>;

HWY_INLINE Bytes load(const std::byte* from) {
  Bytes v = 0;
  std::memcpy(&v, from, sizeof(v));
  return v;
}
HWY_INLINE void store_bytes(Bytes v, std::uint8_t* to) {
  std::memcpy(to, &v, sizeof(v));
}
template <int n>
HWY_INLINE Bytes shift_right(Bytes v) {
  if constexpr (n < 0) {
    return v << -n;
  } else {
    return v >> n;
  }
}
HWY_INLINE Bytes select(std::uint8_t mask, Bytes yes, Bytes no) {
  return (yes & mask * 0x01010101U) | (no & ~(mask * 0x01010101U));
}
HWY_INLINE Bytes turn_bits(Bytes v, std::uint8_t mask) {
  return v ^ mask * 0x01010101U;
}
HWY_INLINE Bytes load_halves(const std::byte* half_block, std::size_t lane) {
  const Bytes v = load(half_block + lane % (kBlock / 2));
  return lane < kBlock / 2 ? v : v >> 4;
}
HWY_INLINE Sums zero_sums() {
  return 0;
}
HWY_INLINE Sums set_sums(std::int32_t value) {
  return value;
}
HWY_INLINE Sums add_sums(Sums a, Sums b) {
  return a + b;
}
HWY_INLINE Sums load_sums(const std::int32_t* from) {
  return *from;
}
HWY_INLINE void store_sums(Sums v, std::int32_t* to) {
  *to = v;
}
HWY_INLINE hn::Vec<F32> to_floats(Sums v) {
  return hn::Set(F32(), static_cast<float>(v));
}

template <int kBits, int kBias = 0>
class Lookup {
 public:
  Bytes operator()(Bytes codes) const {
    std::array<std::uint8_t, 4> bytes;
    store_bytes(codes, bytes.data());
    for (std::uint8_t& b : bytes) b = kLevelTable<kBits, kBias>[b % (1U << kBits)];
    Bytes levels = 0;
    std::memcpy(&levels, bytes.data(), sizeof(levels));
    return levels;
  }
};

/// The level of token t in every 32-bit lane.
template <int t>
HWY_INLINE Sums sign_extended(Bytes levels) {
  return static_cast<std::int8_t>(levels >> (8 * t));
}

#else

constexpr std::size_t kRegister = HWY_MAX_BYTES < kBlock ? HWY_MAX_BYTES : kBlock;  // bytes
using U8 = hn::CappedTag<std::uint8_t, kBlock>;
using I16 = hn::Repartition<std::int16_t, U8>;
using U16 = hn::Repartition<std::uint16_t, U8>;
using I32 = hn::Repartition<std::int32_t, U8>;
using F32 = hn::Repartition<float, U8>;
using Bytes = hn::Vec<U8>;
using Sums = hn::Vec<I32>;

HWY_INLINE Bytes load(const std::byte* from) {
  return hn::LoadU(U8(), reinterpret_cast<const std::uint8_t*>(from));
}
HWY_INLINE void store_bytes(Bytes v, std::uint8_t* to) {
  hn::StoreU(v, U8(), to);
}

/// Shifts 16 bits at a time: bits of a neighbour come into the byte, never over its code.
template <int n>
HWY_INLINE Bytes shift_right(Bytes v) {
  const auto words = hn::BitCast(U16(), v);
  if constexpr (n == 0) {
    return v;
  } else if constexpr (n < 0) {
    return hn::BitCast(U8(), hn::ShiftLeft<-n>(words));
  } else {
    return hn::BitCast(U8(), hn::ShiftRight<n>(words));
  }
}

HWY_INLINE Bytes select(std::uint8_t mask, Bytes yes, Bytes no) {
  const auto chosen = hn::Set(U8(), mask);
  return hn::Or(hn::And(chosen, yes), hn::AndNot(chosen, no));
}

HWY_INLINE Bytes turn_bits(Bytes v, std::uint8_t mask) {
  return hn::Xor(v, hn::Set(U8(), mask));
}

/// Slots [lane, lane + kRegister) of a bit plane of values: the upper half of a block is in the upper
/// nibbles.
HWY_INLINE Bytes load_halves(const std::byte* half_block, std::size_t lane) {
#if HWY_MAX_BYTES >= 64
  const hn::Half<U8> half;
  const auto v = hn::LoadU(half, reinterpret_cast<const std::uint8_t*>(half_block));
  const auto upper = hn::ShiftRight<4>(hn::BitCast(hn::Half<U16>(), v));
  return lane == 0 ? hn::Combine(U8(), hn::BitCast(half, upper), v) : hn::Zero(U8());
#else
  const Bytes v = load(half_block + lane % (kBlock / 2));
  return lane < kBlock / 2 ? v : shift_right<4>(v);
#endif
}

HWY_INLINE Sums zero_sums() {
  return hn::Zero(I32());
}
HWY_INLINE Sums set_sums(std::int32_t value) {
  return hn::Set(I32(), value);
}
HWY_INLINE Sums add_sums(Sums a, Sums b) {
  return hn::Add(a, b);
}
HWY_INLINE Sums load_sums(const std::int32_t* from) {
  return hn::LoadU(I32(), from);
}
HWY_INLINE void store_sums(Sums v, std::int32_t* to) {
  hn::StoreU(v, I32(), to);
}
HWY_INLINE hn::Vec<F32> to_floats(Sums v) {
  return hn::ConvertTo(F32(), v);
}

/// Levels, plus kBias, of codes whose upper bits may be anything.
template <int kBits, int kBias = 0>
class Lookup {
 public:
#if HWY_TARGET == HWY_AVX3_DL
  Lookup() : table_(hn::LoadU(U8(), kLevelTable<kBits, kBias>.data())) {}
  HWY_INLINE Bytes operator()(Bytes codes) const {
    return Bytes{_mm512_permutexvar_epi8(codes.raw, table_.raw)};  // reads 6 bits of a code
  }
#else
  Lookup() : table_(hn::LoadDup128(U8(), kLevelTable<kBits, kBias>.data())) {}
  HWY_INLINE Bytes operator()(Bytes codes) const {
    constexpr auto kMask = static_cast<std::uint8_t>((1U << kBits) - 1);
    return hn::TableLookupBytes(table_, hn::And(codes, hn::Set(U8(), kMask)));
  }
#endif

 private:
  Bytes table_;
};

template <int t>
HWY_INLINE Sums sign_extended(Bytes levels) {
  const auto lanes = hn::BitCast(I32(), levels);
  if constexpr (t == 3) return hn::ShiftRight<24>(lanes);
  return hn::ShiftRight<24>(hn::ShiftLeft<24 - 8 * t>(lanes));
}

#endif  // HWY_SCALAR

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
