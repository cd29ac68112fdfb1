#include "nn/inputs.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nn/inputs.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "base/divide_up.h"
#include "hwy/highway.h"
#include "nn/pair_products-inl.h"
#include "nn/tiles.h"

MISER_BEFORE_NAMESPACE();
namespace miser::nn::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Quad = hn::CappedTag<std::int32_t, kPairDistance>;
using Quads = hn::Vec<Quad>;

template <std::size_t n>
HWY_INLINE void store_interleaved(const Quads (&rows)[n], std::int32_t* to) {
  if constexpr (n == 4) hn::StoreInterleaved4(rows[0], rows[1], rows[2], rows[3], Quad(), to);
  if constexpr (n == 2) hn::StoreInterleaved2(rows[0], rows[1], Quad(), to);
  if constexpr (n == 1) hn::StoreU(rows[0], Quad(), to);
}

/// Rounds a panel of n rows from `first` on to nearest even.
template <std::size_t n>
HWY_INLINE void round_panel(Inputs& in, std::size_t first) {
  const Quad di;
  const hn::RebindToFloat<Quad> d;
  const std::size_t n_blocks = in.cols / kQuantColumns;
  for (std::size_t b = 0; b < n_blocks; ++b) {
    const float* const x = in.x + first * in.cols + b * kQuantColumns;
    const std::size_t at = first * n_blocks + b * n;
    Rounding roundings[n];
    Quads sums[n];
    for (std::size_t k = 0; k < n; ++k) {
      roundings[k] = rounding_to(largest_magnitude(x + k * in.cols, kQuantColumns));
      sums[k] = hn::Zero(di);
    }
    for (std::size_t c = 0; c < kQuantColumns; c += 2 * kPairDistance) {
      for (std::size_t i = 0; i < kPairDistance; i += hn::Lanes(d)) {
        Quads pairs[n];
        for (std::size_t k = 0; k < n; ++k) {
          const float* const from = x + k * in.cols + c + i;
          const auto inverse = hn::Set(d, roundings[k].inverse);
          const auto one = hn::NearestInt(hn::Mul(hn::LoadU(d, from), inverse));
          const auto other = hn::NearestInt(hn::Mul(hn::LoadU(d, from + kPairDistance), inverse));
          sums[k] = hn::Add(sums[k], hn::Add(one, other));
          pairs[k] = hn::Or(hn::And(one, hn::Set(di, 0xFFFF)), hn::ShiftLeft<16>(other));
        }
        store_interleaved(pairs, &in.pairs[at * kPairs + (c / 2 + i) * n]);
      }
    }
    for (std::size_t k = 0; k < n; ++k) {
      const std::int32_t sum = hn::GetLane(hn::SumOfLanes(di, sums[k]));
      in.scales[at + k] = roundings[k].unit;
      in.sums[at + k] = roundings[k].unit * static_cast<float>(sum);
    }
  }
}

void round_panel_of(Inputs& in, std::size_t first, std::size_t rows) {
  if (rows == 4) round_panel<4>(in, first);
  if (rows == 2) round_panel<2>(in, first);
  if (rows == 1) round_panel<1>(in, first);
}

}  // namespace miser::nn::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::nn {

HWY_EXPORT(round_panel_of);

namespace {

constexpr std::size_t kPanelsPerItem = 4;  // fewer stay on the caller, as in decoding

}  // namespace

void round_inputs(Inputs& in, ThreadPool& pool) {
  const std::size_t n_blocks = in.n * (in.cols / kQuantColumns);
  in.pairs.resize(n_blocks * kPairs);
  in.scales.resize(n_blocks);
  in.sums.resize(n_blocks);
  const std::size_t n_whole = in.n / kPanelRows;
  pool.parallel_for(divide_up(n_whole, kPanelsPerItem), [&](std::size_t item, int) {
    const std::size_t end = std::min((item + 1) * kPanelsPerItem, n_whole);
    for (std::size_t panel = item * kPanelsPerItem; panel < end; ++panel)
      HWY_DYNAMIC_DISPATCH(round_panel_of)(in, panel * kPanelRows, kPanelRows);
  });
  std::size_t row = n_whole * kPanelRows;
  for (std::size_t rows = kPanelRows / 2; rows > 0; rows /= 2) {
    if (row + rows > in.n) continue;
    HWY_DYNAMIC_DISPATCH(round_panel_of)(in, row, rows);
    row += rows;
  }
}

}  // namespace miser::nn
#endif  // HWY_ONCE
