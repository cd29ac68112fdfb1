// Integer products of levels with queries and weights, four to a 32-bit lane. Included once per Highway
// target.
#if defined(MISER_KV_PACKED_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MISER_KV_PACKED_PRODUCTS_INL_H_
#undef MISER_KV_PACKED_PRODUCTS_INL_H_
#else
#define MISER_KV_PACKED_PRODUCTS_INL_H_
#endif

#include <array>
#include <cstddef>
#include <cstdint>

#include "kv/packed.h"
#include "kv/packed_ops-inl.h"

MISER_BEFORE_NAMESPACE();
namespace miser::kv::HWY_NAMESPACE {

#undef MISER_KV_FACTOR_ORDER  // of the bytes of two times 4 weights
#if HWY_TARGET == HWY_AVX3_DL
#define MISER_KV_FACTOR_ORDER \
  { 1, 3, 5, 7, 0, 2, 4, 6, 9, 11, 13, 15, 8, 10, 12, 14 }
#else
#define MISER_KV_FACTOR_ORDER \
  { 0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15 }
#endif

#undef MISER_KV_SIGNED_DOT  // four products of signed bytes, added to each 32-bit lane
#if HWY_ARCH_ARM_A64 && HWY_TARGET == HWY_NEON && defined(__ARM_FEATURE_DOTPROD)
#define MISER_KV_SIGNED_DOT
#endif

// `Products` is what a target makes of a register of levels once for all rows.
#if HWY_TARGET == HWY_AVX3_DL || defined(MISER_KV_SIGNED_DOT)

/// Factors of 16 bits are summed as their upper and lower bytes.
struct WeightedSums {
  Sums upper;
  Sums lower;
};
HWY_INLINE WeightedSums weighted_sums(std::int32_t start) {
  return {zero_sums(), set_sums(start)};
}

HWY_INLINE Sums total(const WeightedSums& sums) {
  return hn::Add(hn::ShiftLeft<8>(sums.upper), sums.lower);
}

#if HWY_TARGET == HWY_AVX3_DL

/// Added to the levels of keys, because vpdpbusd wants one side unsigned.
constexpr std::int32_t kKeyBias = 128;
HWY_INLINE Bytes key_products(Bytes levels) {
  return levels;
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

#else

/// Both bytes signed.
template <typename T>
HWY_INLINE Factors signed_bytes(const T* factors) {
  Factors f{0, 0};
  for (unsigned t = 0; t < 4; ++t) {
    const auto lower = static_cast<std::int8_t>(factors[t] & 0xFF);
    f.a |= static_cast<std::uint32_t>(static_cast<std::uint8_t>((factors[t] - lower) >> 8)) << (8 * t);
    f.b |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(lower)) << (8 * t);
  }
  return f;
}

constexpr std::int32_t kKeyBias = 0;
HWY_INLINE Bytes key_products(Bytes levels) {
  return levels;
}
HWY_INLINE int32x4_t dot(int32x4_t sum, Bytes levels, std::uint32_t factors) {
  return vdotq_s32(sum, vreinterpretq_s8_u8(levels.raw), vreinterpretq_s8_u32(vdupq_n_u32(factors)));
}
HWY_INLINE void add_key_product(WeightedSums& sums, Bytes levels, const Factors& q) {
  sums.upper.raw = dot(sums.upper.raw, levels, q.a);
  sums.lower.raw = dot(sums.lower.raw, levels, q.b);
}
HWY_INLINE Factors weight_factors(const std::uint16_t* w) {
  return signed_bytes(w);
}
HWY_INLINE Bytes value_products(Bytes levels) {
  return levels;
}
HWY_INLINE void add_weighted(WeightedSums& sums, Bytes levels, const Factors& w) {
  add_key_product(sums, levels, w);
}

#endif

#else

/// Factors of 16 bits: (f0, f2) and (f1, f3).
template <typename T>
HWY_INLINE Factors pairs_of(const T* f) {
  const auto bits = [f](std::size_t i) { return static_cast<std::uint32_t>(f[i]) & 0xFFFFU; };
  return {bits(0) | bits(2) << 16, bits(1) | bits(3) << 16};
}
HWY_INLINE Factors weight_factors(const std::uint16_t* w) {
  return pairs_of(w);
}
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
/// Added to the levels of keys, because bytes without a sign are widened by fewer instructions.
constexpr std::int32_t kKeyBias = 128;
HWY_INLINE Products key_products(Bytes levels) {
  const auto words = hn::BitCast(U16(), levels);
  return {hn::BitCast(I16(), hn::And(words, hn::Set(U16(), 0xFF))),
          hn::BitCast(I16(), hn::ShiftRight<8>(words))};
}
HWY_INLINE Products value_products(Bytes levels) {
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
constexpr std::int32_t kKeyBias = 0;
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
HWY_INLINE Products value_products(Bytes levels) {
  return key_products(levels);
}

#endif

HWY_INLINE void add_weighted(WeightedSums& sums, const Products& levels, const Factors& w) {
  add_key_product(sums, levels, w);
}

#endif  // four byte products to a lane

#if HWY_TARGET == HWY_SCALAR || defined(MISER_KV_SIGNED_DOT)

/// One Factors for each 4 of n weights, in whole registers.
HWY_INLINE void make_factors(const std::uint16_t* weights, std::size_t n, Factors* out) {
  for (std::size_t i = 0; i < n; i += 4) out[i / 4] = weight_factors(weights + i);
}

/// The same of n levels of a query, a multiple of 64.
HWY_INLINE void make_query_factors(const std::int16_t* levels, std::size_t n, Factors* out) {
#if HWY_TARGET == HWY_SCALAR
  make_factors(reinterpret_cast<const std::uint16_t*>(levels), n, out);
#else
  for (std::size_t i = 0; i < n; i += 4) out[i / 4] = signed_bytes(levels + i);
#endif
}

#else

template <class Prepare>
HWY_INLINE void make_factors(const std::uint16_t* of, std::size_t n, Factors* out, const Prepare& prepare) {
  alignas(16) static constexpr std::uint8_t kOrder[16] = MISER_KV_FACTOR_ORDER;
  const auto order = hn::LoadDup128(U8(), kOrder);
  for (std::size_t i = 0; i < n; i += kRegister / sizeof(std::uint16_t)) {
    const auto v = prepare(load(reinterpret_cast<const std::byte*>(of + i)));
    store_bytes(hn::TableLookupBytes(v, order), reinterpret_cast<std::uint8_t*>(out + i / 4));
  }
}

/// One Factors for each 4 of n weights, in whole registers.
HWY_INLINE void make_factors(const std::uint16_t* weights, std::size_t n, Factors* out) {
  make_factors(weights, n, out, [](Bytes v) HWY_ATTR { return v; });
}

/// The same of n levels of a query, a multiple of 64.
HWY_INLINE void make_query_factors(const std::int16_t* levels, std::size_t n, Factors* out) {
  make_factors(reinterpret_cast<const std::uint16_t*>(levels), n, out, [](Bytes v) HWY_ATTR {
#if HWY_TARGET == HWY_AVX3_DL
    // Both bytes signed: 128 rounds the upper one, and turned back is the lower one's sign.
    const auto half = hn::Set(U16(), 0x80);
    return hn::BitCast(U8(), hn::Xor(hn::Add(hn::BitCast(U16(), v), half), half));
#else
    return v;
#endif
  });
}

#endif

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
