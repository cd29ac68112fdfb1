// Weights of packed values as whole numbers, in the order of the groups. Included once per Highway target.
#if defined(MISER_KV_PACKED_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MISER_KV_PACKED_WEIGHTS_INL_H_
#undef MISER_KV_PACKED_WEIGHTS_INL_H_
#else
#define MISER_KV_PACKED_WEIGHTS_INL_H_
#endif

#include <array>
#include <bit>
#include <cfloat>
#include <cstddef>
#include <cstdint>

#include "kv/packed_order-inl.h"

MISER_BEFORE_NAMESPACE();
namespace miser::kv::HWY_NAMESPACE {

constexpr int kMaxWeight = 127 * 256;  // as of queries; 512 of them times 127 stay below 2^31
static_assert(Segment::kMaxTokens * kMaxWeight * 127 <= INT32_MAX);

/// Weights of one row: weight times scale as 15-bit numbers, in the order of the groups.
struct RowWeights {
  float unit;  ///< of the numbers, 0 if there is nothing to add
  float sum;   ///< of the weights
};

/// The weights of up to kMaxValueRows rows, those of 16 bits left out.
struct GroupedWeights {
  std::array<std::size_t, kWidthCount> first;  ///< where those of each width begin
  alignas(64) std::array<std::uint16_t, kMaxValueRows * kWeightRoom> levels;
  std::array<RowWeights, kMaxValueRows> rows;
};

/// Room for n weights and the register that may be written at their end.
constexpr std::size_t weight_room(std::size_t n) {
  return (n + 63) / 32 * 32;
}

/// Where the weights of each group begin.
HWY_INLINE std::array<std::size_t, kWidthCount> weight_places(const Groups& groups) {
  std::array<std::size_t, kWidthCount> first{};
  for (std::size_t w = 1; w < kWidthCount; ++w) first[w] = first[w - 1] + weight_room(groups.count[w - 1]);
  return first;
}

/// What makes products 15-bit numbers, and back.
struct WeightUnit {
  float inverse;
  float unit;
};
HWY_INLINE WeightUnit weight_unit(float largest) {
  if (largest <= kMaxWeight * FLT_MIN) return {0, 0};  // so that the inverse is finite
  return {static_cast<float>(kMaxWeight) / largest, largest / static_cast<float>(kMaxWeight)};
}

constexpr float kRound = 0x1p23F;  ///< its unit is 1: a sum's lowest bits are the rounded number

#if HWY_TARGET == HWY_AVX3_DL

constexpr std::size_t kHalf = 32;  ///< tokens whose weights fill a register

/// For each width, which of 32 tokens have it.
using HalfMasks = std::array<__mmask32, kWidthCount>;

/// Scales over gains of 32 tokens in token order, 0 at 16 bits; `from` moves on in each group.
HWY_INLINE void scales_of_tokens(const Groups& groups, const HalfMasks& masks,
                                 std::array<const std::byte*, kWidthCount>& from, __m512 (&scales)[2]) {
  __m512i halves = _mm512_setzero_si512();
  for (const Width width : groups.present()) {
    if (width == Width::k16) continue;
    const auto w = static_cast<std::size_t>(width);
    const auto n = static_cast<unsigned>(std::popcount(masks[w]));
    const auto first_n = static_cast<__mmask32>((std::uint64_t{1} << n) - 1);
    halves = _mm512_mask_expand_epi16(halves, masks[w], _mm512_maskz_loadu_epi16(first_n, from[w]));
    from[w] += sizeof(std::uint16_t) * n;
  }
  scales[0] = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
  scales[1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1));
  for (const Width width : {Width::k1, Width::k2}) {
    const auto w = static_cast<std::size_t>(width);
    const __m512 inverse_gain = _mm512_set1_ps(1 / level_gain(width));
    for (std::size_t i = 0; i < 2; ++i) {
      const auto mask = static_cast<__mmask16>(masks[w] >> (16 * i));
      scales[i] = _mm512_mask_mul_ps(scales[i], mask, scales[i], inverse_gain);
    }
  }
}

/// What the two passes over the tokens share, in token order.
template <std::size_t kRows>
struct TokenWeights {
  std::array<HalfMasks, divide_up(Segment::kMaxTokens, kHalf)> masks;
  alignas(64) std::array<float, kRows * Segment::kMaxTokens> products;  ///< weights times scales
};

/// Multiplies the weights of vectors below 16 bits by their scales; the largest products and the sums of the
/// weights in each lane.
template <std::size_t kRows>
HWY_INLINE void scale_weights(const Groups& groups, const float* weights, std::size_t ld,
                              TokenWeights<kRows>& to, __m512 (&largest)[kRows], __m512 (&sum)[kRows]) {
  std::array<const std::byte*, kWidthCount> from;
  for (std::size_t w = 0; w < kWidthCount; ++w) from[w] = groups.bytes + groups.layout.scales[w];
  for (std::size_t r = 0; r < kRows; ++r) largest[r] = sum[r] = _mm512_setzero_ps();
  for (std::size_t half = 0; half * kHalf < groups.n_tokens; ++half) {
    if (half % 2 == 0) {
      const auto of_block = token_masks(groups.bytes, groups.n_tokens, half / 2);
      for (std::size_t w = 0; w < kWidthCount; ++w) {
        to.masks[half][w] = static_cast<__mmask32>(of_block[w]);
        to.masks[half + 1][w] = static_cast<__mmask32>(of_block[w] >> kHalf);
      }
    }
    const HalfMasks& masks = to.masks[half];
    __m512 scales[2];
    scales_of_tokens(groups, masks, from, scales);
    __mmask32 coded = 0;
    for (std::size_t w = 0; w < static_cast<std::size_t>(Width::k16); ++w) coded |= masks[w];
    for (std::size_t i = 0; i < 2; ++i) {
      const std::size_t token = half * kHalf + 16 * i;
      const auto mask = static_cast<__mmask16>(coded >> (16 * i));
      for (std::size_t r = 0; r < kRows; ++r) {
        const __m512 weight = _mm512_maskz_loadu_ps(mask, weights + r * ld + token);
        const __m512 product = _mm512_mul_ps(weight, scales[i]);
        largest[r] = _mm512_max_ps(largest[r], product);
        sum[r] = _mm512_add_ps(sum[r], weight);
        _mm512_store_ps(to.products.data() + r * Segment::kMaxTokens + token, product);
      }
    }
  }
}

/// Scales and rounds weights in token order, so that half as many registers of numbers of 16 bits go to the
/// order of the groups.
template <std::size_t kRows>
HWY_INLINE void group_weights(const Groups& groups, const float* weights, std::size_t ld,
                              GroupedWeights& to) {
  TokenWeights<kRows> of_tokens;
  __m512 largest[kRows];
  __m512 sum[kRows];
  scale_weights<kRows>(groups, weights, ld, of_tokens, largest, sum);
  __m512 inverse[kRows];
  for (std::size_t r = 0; r < kRows; ++r) {
    const WeightUnit unit = weight_unit(_mm512_reduce_max_ps(largest[r]));
    inverse[r] = _mm512_set1_ps(unit.inverse);
    to.rows[r] = {unit.unit, _mm512_reduce_add_ps(sum[r])};
  }
  const __m512 round = _mm512_set1_ps(kRound);
  auto place = to.first = weight_places(groups);
  for (std::size_t half = 0; half * kHalf < groups.n_tokens; ++half) {
    __m512i levels[kRows];
    for (std::size_t r = 0; r < kRows; ++r) {
      const float* const at = of_tokens.products.data() + r * Segment::kMaxTokens + half * kHalf;
      const hn::Vec<U16> lower{_mm512_castps_si512(_mm512_fmadd_ps(_mm512_load_ps(at), inverse[r], round))};
      const hn::Vec<U16> upper{
          _mm512_castps_si512(_mm512_fmadd_ps(_mm512_load_ps(at + 16), inverse[r], round))};
      levels[r] = hn::ConcatEven(U16(), upper, lower).raw;  // the lower word of each lane
    }
    for (const Width width : groups.present()) {
      if (width == Width::k16) continue;
      const auto w = static_cast<std::size_t>(width);
      const __mmask32 mask = of_tokens.masks[half][w];
      for (std::size_t r = 0; r < kRows; ++r) {
        _mm512_storeu_si512(to.levels.data() + r * kWeightRoom + place[w],
                            _mm512_maskz_compress_epi16(mask, levels[r]));
      }
      place[w] += static_cast<std::size_t>(std::popcount(mask));
    }
  }
}

#else

/// Multiplies weights [kRows, kWeightRoom], in the order of the groups, by the scales of their vectors, in
/// place; the largest products and the sums of the weights in each lane.
template <std::size_t kRows>
HWY_INLINE void scale_weights(const Groups& groups, const std::array<std::size_t, kWidthCount>& first,
                              float* weights, hn::Vec<F32> (&largest)[kRows], hn::Vec<F32> (&sum)[kRows]) {
  const F32 d;
  const std::size_t lanes = hn::Lanes(d);
  std::fill(largest, largest + kRows, hn::Zero(d));
  std::fill(sum, sum + kRows, hn::Zero(d));
  for (const Width width : groups.present()) {
    if (width == Width::k16) continue;
    const auto w = static_cast<std::size_t>(width);
    const auto inverse_gain = hn::Set(d, 1 / level_gain(width));
    const auto take = [&](std::size_t i, auto&& keep) HWY_ATTR {
      const auto scale = keep(hn::Mul(load_scales(groups, width, i), inverse_gain));
      for (std::size_t r = 0; r < kRows; ++r) {
        float* const at = weights + r * kWeightRoom + first[w] + i;
        const auto weight = keep(hn::LoadU(d, at));
        const auto product = hn::Mul(weight, scale);
        largest[r] = hn::Max(largest[r], product);
        sum[r] = hn::Add(sum[r], weight);
        hn::StoreU(product, d, at);
      }
    };
    std::size_t i = 0;
    for (; i + lanes <= groups.count[w]; i += lanes) take(i, [](auto v) HWY_ATTR { return v; });
    if (i == groups.count[w]) continue;
    const auto inside = hn::FirstN(d, groups.count[w] - i);
    take(i, [&](auto v) HWY_ATTR { return hn::IfThenElseZero(inside, v); });
  }
}

template <std::size_t kRows>
HWY_INLINE void group_weights(const Groups& groups, const float* weights, std::size_t ld,
                              GroupedWeights& to) {
  to.first = weight_places(groups);
  alignas(64) std::array<float, kRows * kWeightRoom> products;
  to_group_order<kRows>(groups, weights, ld, to.first, products.data());
  hn::Vec<F32> largest[kRows];
  hn::Vec<F32> sum[kRows];
  scale_weights<kRows>(groups, to.first, products.data(), largest, sum);
  const F32 d;
  const hn::RebindToUnsigned<F32> d32;
  const hn::Rebind<std::uint16_t, F32> d16;
  const auto round = hn::Set(d, kRound);
  const std::size_t end = to.first.back() + weight_room(groups.count.back());
  for (std::size_t r = 0; r < kRows; ++r) {
    const WeightUnit unit = weight_unit(hn::GetLane(hn::MaxOfLanes(d, largest[r])));
    const auto inverse = hn::Set(d, unit.inverse);
    to.rows[r] = {unit.unit, hn::GetLane(hn::SumOfLanes(d, sum[r]))};
    const std::size_t first = r * kWeightRoom;
    for (std::size_t i = first; i < first + end; i += hn::Lanes(d)) {  // what lies between groups is not read
      const auto level = hn::MulAdd(hn::Load(d, products.data() + i), inverse, round);
      hn::StoreU(hn::TruncateTo(d16, hn::BitCast(d32, level)), d16, to.levels.data() + i);
    }
  }
}

#endif  // HWY_AVX3_DL

HWY_INLINE void group_weights(const Groups& groups, const float* weights, std::size_t ld, std::size_t n_rows,
                              GroupedWeights& to) {
  switch (n_rows) {
    case 1:
      return group_weights<1>(groups, weights, ld, to);
    case 2:
      return group_weights<2>(groups, weights, ld, to);
    default:
      return group_weights<kMaxValueRows>(groups, weights, ld, to);
  }
}

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
