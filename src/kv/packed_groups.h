#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>

#include "base/divide_up.h"
#include "kv/packed_levels.h"
#include "kv/segment.h"
#include "kv/segment_layout.h"
#include "kv/segment_tiles.h"

namespace miser::kv {

/// Query rows whose sums fit into registers: 4 rows of scores; 3 rows of 4 chunks of values, twice.
inline constexpr std::size_t kMaxKeyRows = 4;
inline constexpr std::size_t kMaxValueRows = 3;

/// Weights of a row in the order of the groups, each of which has room for a register more; and by fours.
inline constexpr std::size_t kWeightRoom = Segment::kMaxTokens + 64 * kWidthCount;
inline constexpr std::size_t kQuadRoom = kWeightRoom / 4;

/// Where the groups of a segment lie.
struct Groups {
  Groups(const Segment& segment, const Side& side)
      : bytes(segment.bytes().data()),
        n_tokens(segment.size()),
        head_dim(side.rotation->head_dim()),
        count(segment.counts()),
        layout(n_tokens, count, head_dim) {
    std::size_t sum = 0;
    for (const Width width : kAllWidths) {
      const auto w = static_cast<std::size_t>(width);
      first[w] = sum;
      sum += count[w];
      tiled[w] = tiled_vectors(side.kind, width, head_dim, count[w]);
      if (count[w] > 0) present_[n_present_++] = width;
    }
  }

  std::span<const Width> present() const { return {present_.data(), n_present_}; }
  const std::byte* scales(Width width) const {
    return bytes + layout.scales[static_cast<std::size_t>(width)];
  }
  /// The tiles, or vector i as a row.
  const std::byte* tiles(Width width) const {
    return bytes + layout.payloads[static_cast<std::size_t>(width)];
  }
  const std::byte* row(Width width, std::size_t i) const {
    return tiles(width) + i * layout.payload_size[static_cast<std::size_t>(width)];
  }
  std::size_t n_slabs() const { return divide_up(head_dim, kSlab); }
  std::size_t n_tiled() const { return std::accumulate(tiled.begin(), tiled.end(), std::size_t{0}); }

  const std::byte* bytes;
  std::size_t n_tokens;
  std::size_t head_dim;
  std::array<std::uint16_t, kWidthCount> count;
  SegmentLayout layout;
  std::array<std::size_t, kWidthCount> first;  ///< vectors in the groups before
  std::array<std::size_t, kWidthCount> tiled;  ///< vectors in tiles

 private:
  std::array<Width, kWidthCount> present_{};
  std::size_t n_present_ = 0;
};

inline float level_gain(Width width) {
  constexpr std::array<int, kWidthCount> kGain = {kLevelGain<1>, kLevelGain<2>, 1, 1, 1, 1};
  return static_cast<float>(kGain[static_cast<std::size_t>(width)]);
}

}  // namespace miser::kv
