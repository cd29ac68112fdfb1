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

/// The weights of up to kMaxValueRows rows, those of 16 bits left out.
struct GroupedWeights {
  std::array<std::size_t, kWidthCount> first;  ///< where those of each width begin
  alignas(64) std::array<std::uint16_t, kMaxValueRows * kWeightRoom> levels;
  std::array<RowWeights, kMaxValueRows> rows;
};

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
  std::size_t end = 0;
  for (std::size_t w = 0; w < kWidthCount; ++w) {
    to.first[w] = end;
    end += (groups.count[w] + 63U) / 32 * 32;  // a whole register may be written at its end
  }
  alignas(64) std::array<float, kRows * kWeightRoom> products;
  to_group_order<kRows>(groups, weights, ld, to.first, products.data());
  hn::Vec<F32> largest[kRows];
  hn::Vec<F32> sum[kRows];
  scale_weights<kRows>(groups, to.first, products.data(), largest, sum);
  const F32 d;
  const hn::RebindToUnsigned<F32> d32;
  const hn::Rebind<std::uint16_t, F32> d16;
  const auto round = hn::Set(d, 0x1p23F);  // whose unit is 1: a sum's lowest bits are the rounded number
  for (std::size_t r = 0; r < kRows; ++r) {
    const float max = hn::GetLane(hn::MaxOfLanes(d, largest[r]));
    const bool any = max > kMaxWeight * FLT_MIN;  // so that its inverse is finite
    const auto inverse = hn::Set(d, any ? static_cast<float>(kMaxWeight) / max : 0.0F);
    to.rows[r] = {any ? max / static_cast<float>(kMaxWeight) : 0.0F, hn::GetLane(hn::SumOfLanes(d, sum[r]))};
    const std::size_t first = r * kWeightRoom;
    for (std::size_t i = first; i < first + end; i += hn::Lanes(d)) {  // what lies between groups is not read
      const auto level = hn::MulAdd(hn::Load(d, products.data() + i), inverse, round);
      hn::StoreU(hn::TruncateTo(d16, hn::BitCast(d32, level)), d16, to.levels.data() + i);
    }
  }
}

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
