// Registers of packed codes, their levels and integer products. Included once per Highway target.
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
#include "kv/packed.h"
#include "kv/packed_levels.h"
#include "kv/segment_tiles.h"
#include "nn/half-inl.h"

// Highway's AVX3_DL implies VNNI, but its compiler options lack it.
#undef MISER_BEFORE_NAMESPACE
#if HWY_TARGET == HWY_AVX3_DL
#define MISER_BEFORE_NAMESPACE() HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni") static_assert(true, "")
#else
#define MISER_BEFORE_NAMESPACE() HWY_BEFORE_NAMESPACE()
#endif

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

template <int kBits>
class Lookup {
 public:
  Bytes operator()(Bytes codes) const {
    std::array<std::uint8_t, 4> bytes;
    store_bytes(codes, bytes.data());
    for (std::uint8_t& b : bytes) b = kLevelTable<kBits>[b % (1U << kBits)];
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

/// Levels of codes whose upper bits may be anything.
template <int kBits>
class Lookup {
 public:
#if HWY_TARGET == HWY_AVX3_DL
  Lookup() : table_(hn::LoadU(U8(), kLevelTable<kBits>.data())) {}
  HWY_INLINE Bytes operator()(Bytes codes) const {
    return Bytes{_mm512_permutexvar_epi8(codes.raw, table_.raw)};  // reads 6 bits of a code
  }
#else
  Lookup() : table_(hn::LoadDup128(U8(), kLevelTable<kBits>.data())) {}
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

#undef MISER_KV_FACTOR_ORDER  // of the bytes of two times 4 weights
#if HWY_TARGET == HWY_AVX3_DL
#define MISER_KV_FACTOR_ORDER \
  { 1, 3, 5, 7, 0, 2, 4, 6, 9, 11, 13, 15, 8, 10, 12, 14 }
#else
#define MISER_KV_FACTOR_ORDER \
  { 0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15 }
#endif

// `Products` is what a target makes of a register of levels once for all rows.
#if HWY_TARGET == HWY_AVX3_DL

/// Factors of 16 bits are summed as their upper and lower bytes.
struct WeightedSums {
  Sums upper;
  Sums lower;
};
HWY_INLINE WeightedSums weighted_sums(std::int32_t start) {
  return {zero_sums(), set_sums(start)};
}

/// For queries: both bytes signed. vpdpbusd wants one side unsigned, so the levels of keys get 128 more.
HWY_INLINE Factors query_factors(const std::int16_t* q) {
  Factors f{0, 0};
  for (unsigned t = 0; t < 4; ++t) {
    const auto lower = static_cast<std::int8_t>(q[t] & 0xFF);
    f.a |= static_cast<std::uint32_t>(static_cast<std::uint8_t>((q[t] - lower) >> 8)) << (8 * t);
    f.b |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(lower)) << (8 * t);
  }
  return f;
}
constexpr std::int32_t kKeyBias = 128;
HWY_INLINE Bytes key_products(Bytes levels) {
  return hn::Xor(levels, hn::Set(U8(), 0x80));
}
HWY_INLINE void add_key_product(WeightedSums& sums, Bytes levels, const Factors& q) {
  sums.upper.raw = _mm512_dpbusd_epi32(sums.upper.raw, levels.raw, _mm512_set1_epi32(static_cast<int>(q.a)));
  sums.lower.raw = _mm512_dpbusd_epi32(sums.lower.raw, levels.raw, _mm512_set1_epi32(static_cast<int>(q.b)));
}

/// For weights, below 2^15: both bytes unsigned.
HWY_INLINE Factors weight_factors(const std::uint16_t* w) {
  Factors f{0, 0};
  for (unsigned t = 0; t < 4; ++t) {
    f.a |= static_cast<std::uint32_t>(w[t] >> 8) << (8 * t);
    f.b |= static_cast<std::uint32_t>(w[t] & 0xFF) << (8 * t);
  }
  return f;
}
HWY_INLINE Bytes value_products(Bytes levels) {
  return levels;
}
HWY_INLINE void add_weighted(WeightedSums& sums, Bytes levels, const Factors& w) {
  sums.upper.raw = _mm512_dpbusd_epi32(sums.upper.raw, _mm512_set1_epi32(static_cast<int>(w.a)), levels.raw);
  sums.lower.raw = _mm512_dpbusd_epi32(sums.lower.raw, _mm512_set1_epi32(static_cast<int>(w.b)), levels.raw);
}
HWY_INLINE Sums total(const WeightedSums& sums) {
  return hn::Add(hn::ShiftLeft<8>(sums.upper), sums.lower);
}

#else

/// Factors of 16 bits: (f0, f2) and (f1, f3).
template <typename T>
HWY_INLINE Factors pairs_of(const T* f) {
  const auto bits = [f](std::size_t i) { return static_cast<std::uint32_t>(f[i]) & 0xFFFFU; };
  return {bits(0) | bits(2) << 16, bits(1) | bits(3) << 16};
}
HWY_INLINE Factors query_factors(const std::int16_t* q) {
  return pairs_of(q);
}
HWY_INLINE Factors weight_factors(const std::uint16_t* w) {
  return pairs_of(w);
}
constexpr std::int32_t kKeyBias = 0;
using WeightedSums = Sums;
HWY_INLINE WeightedSums weighted_sums(std::int32_t start) {
  return set_sums(start);
}
HWY_INLINE Sums total(Sums sums) {
  return sums;
}

#if HWY_TARGET != HWY_SCALAR && HWY_ARCH_X86

struct Products {
  hn::Vec<I16> even;  ///< levels 0 and 2 of each lane
  hn::Vec<I16> odd;   ///< 1 and 3
};
HWY_INLINE Products key_products(Bytes levels) {
  const auto words = hn::BitCast(I16(), levels);
  return {hn::ShiftRight<8>(hn::ShiftLeft<8>(words)), hn::ShiftRight<8>(words)};
}
HWY_INLINE hn::Vec<I16> pair(std::uint32_t factors) {
  return hn::BitCast(I16(), hn::Set(I32(), static_cast<std::int32_t>(factors)));
}
HWY_INLINE void add_key_product(Sums& sum, const Products& levels, const Factors& f) {
  auto unused = zero_sums();
  sum = hn::ReorderWidenMulAccumulate(I32(), levels.even, pair(f.a), sum, unused);
  sum = hn::ReorderWidenMulAccumulate(I32(), levels.odd, pair(f.b), sum, unused);
}

#else

struct Products {
  std::array<Sums, 4> of;
};
HWY_INLINE Products key_products(Bytes levels) {
  return {{sign_extended<0>(levels), sign_extended<1>(levels), sign_extended<2>(levels),
           sign_extended<3>(levels)}};
}
HWY_INLINE Sums times(Sums levels, std::uint32_t bits) {
  const auto factor = static_cast<std::int16_t>(bits);
#if HWY_TARGET == HWY_SCALAR
  return levels * factor;
#else
  return hn::Mul(levels, hn::Set(I32(), factor));
#endif
}
HWY_INLINE void add_key_product(Sums& sum, const Products& levels, const Factors& f) {
  sum = add_sums(sum, add_sums(times(levels.of[0], f.a), times(levels.of[2], f.a >> 16)));
  sum = add_sums(sum, add_sums(times(levels.of[1], f.b), times(levels.of[3], f.b >> 16)));
}

#endif

HWY_INLINE Products value_products(Bytes levels) {
  return key_products(levels);
}
HWY_INLINE void add_weighted(WeightedSums& sums, const Products& levels, const Factors& w) {
  add_key_product(sums, levels, w);
}

#endif  // HWY_AVX3_DL

/// One Factors for each 4 of n weights, in whole registers.
HWY_INLINE void make_factors(const std::uint16_t* weights, std::size_t n, Factors* out) {
#if HWY_TARGET == HWY_SCALAR
  for (std::size_t i = 0; i < n; i += 4) out[i / 4] = weight_factors(weights + i);
#else
  alignas(16) static constexpr std::uint8_t kOrder[16] = MISER_KV_FACTOR_ORDER;
  const auto order = hn::LoadDup128(U8(), kOrder);
  for (std::size_t i = 0; i < n; i += kRegister / sizeof(std::uint16_t)) {
    const auto v = load(reinterpret_cast<const std::byte*>(weights + i));
    store_bytes(hn::TableLookupBytes(v, order), reinterpret_cast<std::uint8_t*>(out + i / 4));
  }
#endif
}

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
