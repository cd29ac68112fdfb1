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

/// out [kRows, kRoom] = weights [kRows, ld] times scale / unit, in token order.
template <std::size_t kRows>
HWY_INLINE void quantise(const float* weights, std::size_t ld, const float* scale, std::size_t n_tokens,
                         std::uint16_t* out, std::array<RowWeights, kMaxValueRows>& rows) {
  const F32 d;
  const hn::RebindToUnsigned<F32> d32;
  const hn::Rebind<std::uint16_t, F32> d16;
  const std::size_t lanes = hn::Lanes(d);
  hn::Vec<F32> largest[kRows];
  hn::Vec<F32> sum[kRows];
  std::fill(largest, largest + kRows, hn::Zero(d));
  std::fill(sum, sum + kRows, hn::Zero(d));
  const auto take = [&](std::size_t r, hn::Vec<F32> w, hn::Vec<F32> s) HWY_ATTR {
    largest[r] = hn::Max(largest[r], hn::Mul(w, s));
    sum[r] = hn::Add(sum[r], w);
  };
  std::size_t i = 0;
  for (; i + lanes <= n_tokens; i += lanes) {
    const auto s = hn::Load(d, scale + i);
    for (std::size_t r = 0; r < kRows; ++r) take(r, hn::LoadU(d, weights + r * ld + i), s);
  }
  if (i < n_tokens) {
    const auto inside = hn::FirstN(d, n_tokens - i);
    const auto s = hn::IfThenElseZero(inside, hn::Load(d, scale + i));
    for (std::size_t r = 0; r < kRows; ++r) {
      take(r, hn::IfThenElseZero(inside, hn::LoadU(d, weights + r * ld + i)), s);
    }
  }
  const auto round = hn::Set(d, 0x1p23F);  // whose unit is 1: a sum's lowest bits are the rounded number
  for (std::size_t r = 0; r < kRows; ++r) {
    const float max = hn::GetLane(hn::MaxOfLanes(d, largest[r]));
    const bool any = max > kMaxWeight * FLT_MIN;  // so that its inverse is finite
    const auto inverse = hn::Set(d, any ? static_cast<float>(kMaxWeight) / max : 0.0F);
    rows[r] = {any ? max / static_cast<float>(kMaxWeight) : 0.0F, hn::GetLane(hn::SumOfLanes(d, sum[r]))};
    for (i = 0; i < n_tokens; i += lanes) {  // what is made of weights behind the last is not read
      const auto product = hn::Mul(hn::LoadU(d, weights + r * ld + i), hn::Load(d, scale + i));
      const auto level = hn::BitCast(d32, hn::MulAdd(product, inverse, round));
      hn::StoreU(hn::TruncateTo(d16, level), d16, out + r * kRoom + i);
    }
  }
}

/// Scales of all vectors in token order, as group_scales() has them.
class ValueScales {
 public:
  explicit ValueScales(const Groups& groups) {
    if (groups.present().size() == 1) {
      group_scales(groups, scale_.data());
    } else {
      alignas(64) std::array<float, kRoom> in_groups;
      group_scales(groups, in_groups.data());
      to_token_order<1>(groups, in_groups.data(), kRoom, scale_.data(), kRoom);
    }
  }
  const float* data() const { return scale_.data(); }

 private:
  alignas(64) std::array<float, kRoom> scale_;
};

/// The weights of up to kMaxValueRows rows.
struct GroupedWeights {
  std::array<std::size_t, kWidthCount> first;  ///< where those of each width begin
  alignas(64) std::array<std::uint16_t, kMaxValueRows * kWeightRoom> levels;
  std::array<RowWeights, kMaxValueRows> rows;
};

template <std::size_t kRows>
HWY_INLINE void group_weights(const Groups& groups, const ValueScales& scales, const float* weights,
                              std::size_t ld, GroupedWeights& to) {
  std::size_t at = 0;
  for (std::size_t w = 0; w < kWidthCount; ++w) {
    to.first[w] = at;
    at += (groups.count[w] + 63U) / 32 * 32;  // a whole register may be written at its end
  }
  alignas(64) std::array<std::uint16_t, kRows * kRoom> ordered;
  quantise<kRows>(weights, ld, scales.data(), groups.n_tokens, ordered.data(), to.rows);
  to_group_order<kRows>(groups, ordered.data(), to.first, to.levels.data());
}

HWY_INLINE void group_weights(const Groups& groups, const ValueScales& scales, const float* weights,
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
