// Weights of packed values as whole numbers, in the order of the groups. Included once per Highway target.
#if defined(MISER_KV_PACKED_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MISER_KV_PACKED_WEIGHTS_INL_H_
#undef MISER_KV_PACKED_WEIGHTS_INL_H_
#else
#define MISER_KV_PACKED_WEIGHTS_INL_H_
#endif

#include <array>
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

/// out[t] = weights[t] * scale[t] / unit.
HWY_INLINE RowWeights quantise(const float* weights, const float* scale, std::size_t n, std::uint16_t* out) {
  const F32 d;
  const hn::RebindToUnsigned<F32> d32;
  const hn::Rebind<std::uint16_t, F32> d16;
  const std::size_t lanes = hn::Lanes(d);
  auto largest = hn::Zero(d);
  auto sum = hn::Zero(d);
  for (std::size_t i = 0; i < n; i += lanes) {
    const auto inside = hn::FirstN(d, n - i);
    const auto w = hn::IfThenElseZero(inside, hn::LoadU(d, weights + i));
    largest = hn::Max(largest, hn::IfThenElseZero(inside, hn::Mul(w, hn::LoadU(d, scale + i))));
    sum = hn::Add(sum, w);
  }
  const float max = hn::GetLane(hn::MaxOfLanes(d, largest));
  const bool any = max > kMaxWeight * FLT_MIN;  // so that its inverse is finite
  const auto inverse = hn::Set(d, any ? static_cast<float>(kMaxWeight) / max : 0.0F);
  const auto round = hn::Set(d, 0x1p23F);       // whose unit is 1: a sum's lowest bits are the rounded number
  for (std::size_t i = 0; i < n; i += lanes) {  // what is made of weights behind the last is not read
    const auto product = hn::Mul(hn::LoadU(d, weights + i), hn::LoadU(d, scale + i));
    const auto level = hn::BitCast(d32, hn::MulAdd(product, inverse, round));
    hn::StoreU(hn::TruncateTo(d16, level), d16, out + i);
  }
  return {any ? max / static_cast<float>(kMaxWeight) : 0.0F, hn::GetLane(hn::SumOfLanes(d, sum))};
}

/// The weights of up to kMaxValueRows rows.
struct GroupedWeights {
  std::array<std::size_t, kWidthCount> first;  ///< where those of each width begin
  alignas(64) std::array<std::uint16_t, kMaxValueRows * kWeightRoom> levels;
  std::array<RowWeights, kMaxValueRows> rows;
};

#if HWY_TARGET == HWY_AVX3_DL

template <std::size_t kRows>
HWY_INLINE void group_weights(const Groups& groups, const GroupScales& scales, const float* weights,
                              std::size_t ld, GroupedWeights& to) {
  std::size_t at = 0;
  for (std::size_t w = 0; w < kWidthCount; ++w) {
    to.first[w] = at;
    at += (groups.count[w] + 63U) / 32 * 32;  // a whole register may be written at its end
  }
  alignas(64) std::array<float, kRoom> scale;
  to_token_order<1>(groups, scales.scale.data(), kRoom, scale.data(), kRoom);
  alignas(64) std::array<std::uint16_t, kRows * kRoom> ordered;
  for (std::size_t r = 0; r < kRows; ++r) {
    to.rows[r] = quantise(weights + r * ld, scale.data(), groups.n_tokens, ordered.data() + r * kRoom);
  }
  to_group_order<kRows>(groups, ordered.data(), to.first, to.levels.data());
}

#else

template <std::size_t kRows>
HWY_INLINE void group_weights(const Groups& groups, const GroupScales& scales, const float* weights,
                              std::size_t ld, GroupedWeights& to) {
  to.first = groups.first;
  alignas(64) std::array<float, kRows * kRoom> ordered;
  if (groups.present().size() > 1) {
    to_group_order<kRows>(groups, weights, ld, ordered.data());
    weights = ordered.data();
    ld = kRoom;
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    to.rows[r] =
        quantise(weights + r * ld, scales.scale.data(), groups.n_tokens, to.levels.data() + r * kWeightRoom);
  }
}

#endif

HWY_INLINE void group_weights(const Groups& groups, const GroupScales& scales, const float* weights,
                              std::size_t ld, std::size_t n_rows, GroupedWeights& to) {
  switch (n_rows) {
    case 1:
      return group_weights<1>(groups, scales, weights, ld, to);
    case 2:
      return group_weights<2>(groups, scales, weights, ld, to);
    default:
      return group_weights<kMaxValueRows>(groups, scales, weights, ld, to);
  }
}

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
