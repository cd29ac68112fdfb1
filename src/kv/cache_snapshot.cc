#include "kv/cache_snapshot.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/divide_up.h"
#include "kv/budget.h"
#include "kv/segment_layout.h"

namespace miser::kv {
namespace {

std::size_t tokens_of(const CacheConfig& config, const CachePositions& at, std::size_t segment) {
  const std::size_t begin =
      std::max({segment * Segment::kMaxTokens, config.sinks, std::min(at.first_kept, at.staged_begin)});
  const std::size_t end = std::min((segment + 1) * Segment::kMaxTokens, at.staged_begin);
  return end - std::min(begin, end);
}

/// The bytes that a segment of these tags takes; 0 where a tag is none or goes on behind the last token.
std::size_t bytes_of_tags(std::span<const std::byte> planes, std::size_t n_tokens,
                          const CacheConfig& config) {
  std::array<std::uint16_t, kWidthCount> counts{};
  for (std::size_t t = 0; t < 8 * plane_bytes(n_tokens); ++t) {
    const auto w = static_cast<std::size_t>(tag(planes.data(), n_tokens, t));
    if (t >= n_tokens ? w != 0 : w >= kWidthCount) return 0;
    if (t < n_tokens) ++counts[w];
  }
  const std::size_t n_ratings = config.memory > 0 ? n_tokens : 0;
  return SegmentLayout(n_tokens, counts, config.head_dim).total + n_ratings;
}

LayerSnapshot::PackedVectors read_segment(ByteReader& in, const CacheConfig& config, std::size_t n_tokens) {
  const auto size = in.get<std::uint32_t>("bytes of a segment");
  const auto bytes = in.take(size, "segment");
  if (n_tokens == 0 && size != 0) in.refuse("bytes of a segment without tokens", size, "0");
  if (n_tokens == 0) return {0, bytes};
  const std::size_t n_planes = kTagBits * plane_bytes(n_tokens);
  const std::size_t expected = size < n_planes ? 0 : bytes_of_tags(bytes.first(n_planes), n_tokens, config);
  if (expected == 0)
    in.refuse("segment", fmt::format("tags of no widths in {} bytes", size),
              fmt::format("{} tags", n_tokens));
  if (size != expected) in.refuse("bytes of a segment", size, fmt::format("{} by its tags", expected));
  return {n_tokens, bytes};
}

}  // namespace

std::size_t segment_count(const CacheConfig& config, std::size_t packed_end) {
  return packed_end <= config.sinks ? 0 : divide_up(packed_end, Segment::kMaxTokens);
}

CachePositions read_positions(ByteReader& in, const CacheConfig& config) {
  CachePositions at;
  const bool drops = config.drop_oldest || config.shift;
  at.n_tokens = in.get_within<std::uint64_t>(
      "positions", 1, config.context + (config.shift ? config.sinks + Segment::kMaxTokens : 0));
  at.staged_begin = in.get_within<std::uint64_t>("first staged position",
                                                 exact_begin(config, at.n_tokens - 1), at.n_tokens);
  at.first_kept = in.get_within<std::uint64_t>("first kept position", 0, drops ? at.staged_begin : 0);
  at.rope_base = in.get_within<std::uint64_t>("shift", 0, config.shift ? std::uint64_t{1} << 50U : 0);
  at.sink_offset = in.get_within<std::uint64_t>(
      "shift of the sinks", 0, config.shift ? std::max(at.first_kept, config.sinks) - config.sinks : 0);
  if (at.n_tokens > config.context + at.sink_offset)
    in.refuse("positions", at.n_tokens, fmt::format("at most {}", config.context + at.sink_offset));
  at.cap = static_cast<Width>(in.get_within<std::uint8_t>("widest of a period", 0, kWidthCount - 1));
  at.log_price = in.get<float>("price of demotion");
  if (std::isnan(at.log_price)) in.refuse("price of demotion", at.log_price, "a number");
  return at;
}

LayerSnapshot read_layer(ByteReader& in, const CacheConfig& config, const CachePositions& at) {
  LayerSnapshot layer;
  const std::size_t n_rows =
      at.staged_begin <= config.sinks ? at.n_tokens : at.n_tokens - at.staged_begin + config.sinks;
  const std::size_t row_bytes = config.n_kv_heads * config.head_dim * sizeof(std::uint16_t);
  if (in.get_within<std::uint8_t>("received attention", 0, 1) != 0)
    layer.received = in.take(n_rows * received_stride(config) * sizeof(float), "received attention");
  layer.exact_k = in.take(n_rows * row_bytes, "exact keys");
  layer.exact_v = in.take(n_rows * row_bytes, "exact values");
  const std::size_t n_segments = segment_count(config, at.staged_begin);
  for (std::size_t side = 0; side < 2 * config.n_kv_heads; ++side) {
    for (std::size_t s = 0; s < n_segments; ++s)
      layer.segments.push_back(read_segment(in, config, tokens_of(config, at, s)));
  }
  return layer;
}

}  // namespace miser::kv
