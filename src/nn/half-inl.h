// IEEE binary16 in vectors. Included once per Highway target.
#if defined(MISER_NN_HALF_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MISER_NN_HALF_INL_H_
#undef MISER_NN_HALF_INL_H_
#else
#define MISER_NN_HALF_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace miser::nn::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Highway converts exactly where it uses F16C; its emulation elsewhere neither rounds to nearest nor knows
// infinities, so those targets take the integer route below.
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_F16C)

template <class D>
HWY_INLINE hn::Vec<D> load_half(D d, const std::uint16_t* from) {
  const hn::Rebind<hwy::float16_t, D> dh;
  const hn::Rebind<std::uint16_t, D> du;
  return hn::PromoteTo(d, hn::BitCast(dh, hn::LoadU(du, from)));
}

template <class D>
HWY_INLINE void store_half(D, hn::Vec<D> v, std::uint16_t* to) {
  const hn::Rebind<hwy::float16_t, D> dh;
  const hn::Rebind<std::uint16_t, D> du;
  hn::StoreU(hn::BitCast(du, hn::DemoteTo(dh, v)), du, to);
}

#else

/// Moves exponent and fraction to their place in binary32 and rebiases by an exact product, which also
/// normalises subnormals.
template <class D>
HWY_INLINE hn::Vec<D> load_half(D d, const std::uint16_t* from) {
  const hn::RebindToSigned<D> di;
  const hn::Rebind<std::uint16_t, D> du;
  const auto half = hn::PromoteTo(di, hn::LoadU(du, from));
  const auto magnitude = hn::And(half, hn::Set(di, 0x7FFF));
  const auto sign = hn::ShiftLeft<16>(hn::AndNot(hn::Set(di, 0x7FFF), half));
  const auto shifted = hn::BitCast(d, hn::ShiftLeft<13>(magnitude));
  const auto finite = hn::BitCast(di, hn::Mul(shifted, hn::Set(d, 0x1p112F)));
  const auto special = hn::Or(hn::BitCast(di, shifted), hn::Set(di, 0x7F800000));
  const auto is_special = hn::Gt(magnitude, hn::Set(di, 0x7BFF));
  return hn::BitCast(d, hn::Or(hn::IfThenElse(is_special, special, finite), sign));
}

/// Rounds to nearest even: normals by adding half a unit (less one when even) to the bits, subnormals by
/// letting a sum with 0.5, whose last place is one unit of them, do it.
template <class D>
HWY_INLINE void store_half(D d, hn::Vec<D> v, std::uint16_t* to) {
  const hn::RebindToSigned<D> di;
  const hn::RebindToUnsigned<D> du32;
  const hn::Rebind<std::uint16_t, D> du;
  const auto magnitude = hn::And(hn::BitCast(di, v), hn::Set(di, 0x7FFFFFFF));
  const auto sign = hn::ShiftLeft<15>(hn::BitCast(di, hn::ShiftRight<31>(hn::BitCast(du32, v))));
  const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(di, 1));
  const auto rebias = hn::Set(di, 0xFFF - (112 << 23));
  const auto normal = hn::ShiftRight<13>(hn::Add(hn::Add(magnitude, odd), rebias));
  const auto sum = hn::Add(hn::BitCast(d, magnitude), hn::Set(d, 0.5F));
  const auto subnormal = hn::Sub(hn::BitCast(di, sum), hn::Set(di, 0x3F000000));
  const auto is_normal = hn::Gt(magnitude, hn::Set(di, 0x387FFFFF));  // at least 2^-14
  const auto is_large = hn::Gt(magnitude, hn::Set(di, 0x477FFFFF));   // at least 2^16
  const auto is_nan = hn::Gt(magnitude, hn::Set(di, 0x7F800000));
  auto half = hn::IfThenElse(is_normal, normal, subnormal);
  half = hn::IfThenElse(is_large, hn::Set(di, 0x7C00), half);
  half = hn::IfThenElse(is_nan, hn::Set(di, 0x7E00), half);
  hn::StoreU(hn::DemoteTo(du, hn::Or(half, sign)), du, to);
}

#endif

}  // namespace miser::nn::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
