// Products of whole numbers of 16 bits, two to a lane. Included once per Highway target.
#if defined(MISER_NN_PAIR_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MISER_NN_PAIR_PRODUCTS_INL_H_
#undef MISER_NN_PAIR_PRODUCTS_INL_H_
#else
#define MISER_NN_PAIR_PRODUCTS_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "nn/inputs.h"
#include "nn/vnni-inl.h"

MISER_BEFORE_NAMESPACE();
namespace miser::nn::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 16 lanes where the CPU has them; narrower vectors take 16 in several passes.
inline constexpr std::size_t kMostLanes = 16;
using Floats = hn::CappedTag<float, kMostLanes>;
using Vector = hn::Vec<Floats>;
using Ints = hn::RebindToSigned<Floats>;
using Sums = hn::Vec<Ints>;

// Lanes of two numbers of 16 bits, the first in the lower half.
HWY_INLINE Sums first_of(Sums pairs) {
  return hn::ShiftRight<16>(hn::ShiftLeft<16>(pairs));
}
HWY_INLINE Sums second_of(Sums pairs) {
  return hn::ShiftRight<16>(pairs);
}

/// sum + a[0] b[0] + a[1] b[1] in each lane.
HWY_INLINE Sums add_pairs(Sums sum, Sums a, Sums b) {
#if HWY_TARGET == HWY_AVX3_DL
  // The intrinsic lets GCC 12 copy a sum that is read after its loop to memory at every step.
  asm("vpdpwssd %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
  return sum;
#elif HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR
  const hn::Repartition<std::int16_t, Ints> words;
  Sums unused = hn::Zero(Ints());
  return hn::ReorderWidenMulAccumulate(Ints(), hn::BitCast(words, a), hn::BitCast(words, b), sum, unused);
#elif HWY_ARCH_ARM_A64 && HWY_TARGET != HWY_SCALAR
  const int16x8_t a16 = vreinterpretq_s16_s32(a.raw);
  const int16x8_t b16 = vreinterpretq_s16_s32(b.raw);
  const int32x4_t lower = vmull_s16(vget_low_s16(a16), vget_low_s16(b16));
  return Sums(vaddq_s32(sum.raw, vpaddq_s32(lower, vmull_high_s16(a16, b16))));
#else
  const auto first = hn::Mul(first_of(a), first_of(b));
  return hn::Add(sum, hn::Add(first, hn::Mul(second_of(a), second_of(b))));
#endif
}

/// The largest magnitude of n numbers, n a multiple of 16; an infinity or a NaN if there is one, which no
/// comparison of floats promises.
HWY_INLINE float largest_magnitude(const float* x, std::size_t n) {
  auto largest = hn::Zero(Ints());
  for (std::size_t i = 0; i < n; i += hn::Lanes(Floats()))
    largest = hn::Max(largest, hn::BitCast(Ints(), hn::Abs(hn::LoadU(Floats(), x + i))));
  return std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(Ints(), largest)));
}

/// What n rows hold of one block, in one or more panels (nn/inputs.h).
template <typename T, std::size_t n>
class BlockInputs {
 public:
  static constexpr std::size_t kRows = std::min(n, kPanelRows);

  /// `first_panel` and those that follow it, each of `panel_size`, hold `per_block` elements of each row and
  /// block.
  HWY_INLINE BlockInputs(const T* first_panel, std::size_t panel_size, std::size_t block,
                         std::size_t per_block) {
    for (std::size_t p = 0; p < n / kRows; ++p) {
      panels_[p] = first_panel + p * panel_size + block * per_block * kRows;
      asm("" : "+r"(panels_[p]));  // or GCC 12 keeps an address for each element, and spills most
    }
  }
  HWY_INLINE T operator()(std::size_t k, std::size_t i = 0) const {
    return panels_[k / kRows][i * kRows + k % kRows];
  }

 private:
  const T* panels_[n / kRows];
};

}  // namespace miser::nn::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
