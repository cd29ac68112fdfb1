#include "nn/inputs.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nn/inputs.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "hwy/highway.h"
#include "nn/tiles.h"

HWY_BEFORE_NAMESPACE();
namespace miser::nn::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// The largest magnitude of a block; an infinity or a NaN if there is one, which no comparison of floats
/// promises.
HWY_INLINE float largest_magnitude(const float* x) {
  const hn::CappedTag<float, kQuantColumns> d;
  const hn::RebindToSigned<decltype(d)> di;
  auto largest = hn::Zero(di);
  for (std::size_t c = 0; c < kQuantColumns; c += hn::Lanes(d))
    largest = hn::Max(largest, hn::BitCast(di, hn::Abs(hn::LoadU(d, x + c))));
  return std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(di, largest)));
}

/// pairs [16] of x / scale, rounded to nearest even; returns the sum of all levels.
HWY_INLINE std::int32_t round_block(const float* x, float inverse_scale, std::int32_t* pairs) {
  const hn::CappedTag<float, kPairDistance> d;
  const hn::RebindToSigned<decltype(d)> di;
  const auto inverse = hn::Set(d, inverse_scale);
  auto sum = hn::Zero(di);
  for (std::size_t c = 0; c < kQuantColumns; c += 2 * kPairDistance) {
    for (std::size_t i = 0; i < kPairDistance; i += hn::Lanes(d)) {
      const auto first = hn::NearestInt(hn::Mul(hn::LoadU(d, x + c + i), inverse));
      const auto second = hn::NearestInt(hn::Mul(hn::LoadU(d, x + c + kPairDistance + i), inverse));
      sum = hn::Add(sum, hn::Add(first, second));
      hn::StoreU(hn::Or(hn::And(first, hn::Set(di, 0xFFFF)), hn::ShiftLeft<16>(second)), di,
                 pairs + c / 2 + i);
    }
  }
  return hn::GetLane(hn::SumOfLanes(di, sum));
}

void round_inputs(Inputs& in) {
  constexpr float kMaxLevel = std::numeric_limits<std::int16_t>::max();
  constexpr float kLeastMagnitude = 0x1p-100F;  // neither scale nor its inverse leaves the normal range
  const std::size_t n_blocks = in.cols / kQuantColumns;
  for (std::size_t i = 0; i < in.n; ++i) {
    for (std::size_t b = 0; b < n_blocks; ++b) {
      const float* const x = in.x + i * in.cols + b * kQuantColumns;
      const std::size_t block = i * n_blocks + b;
      const float found = largest_magnitude(x);
      const float largest = std::isfinite(found) ? std::max(found, kLeastMagnitude) : 1;
      const std::int32_t sum = round_block(x, kMaxLevel / largest, &in.pairs[block * kPairs]);
      const float scale =
          std::isfinite(found) ? largest / kMaxLevel : std::numeric_limits<float>::quiet_NaN();
      in.scales[block] = scale;
      in.sums[block] = scale * static_cast<float>(sum);
    }
  }
}

}  // namespace miser::nn::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::nn {

HWY_EXPORT(round_inputs);

void round_inputs(Inputs& in) {
  const std::size_t n_blocks = in.n * (in.cols / kQuantColumns);
  in.pairs.resize(n_blocks * kPairs);
  in.scales.resize(n_blocks);
  in.sums.resize(n_blocks);
  HWY_DYNAMIC_DISPATCH(round_inputs)(in);
}

}  // namespace miser::nn
#endif  // HWY_ONCE
