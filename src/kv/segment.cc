#include "kv/segment.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "kv/segment_layout.h"
#include "nn/ops.h"

namespace miser::kv {
namespace {

using Scales = std::array<float, Segment::kMaxTokens>;

/// row = R (row - centre).
void centre_and_rotate(std::span<float> row, const Side& side) {
  for (std::size_t i = 0; i < row.size(); ++i) row[i] -= side.centre[i];
  side.rotation->apply(row);
}

void store_exact(std::span<const float> row, std::vector<std::uint16_t>& scratch, std::byte* payload) {
  scratch.resize(row.size());
  nn::f32_to_f16(row, scratch);
  std::memcpy(payload, scratch.data(), row.size() * sizeof(std::uint16_t));
}

/// Through a small buffer, because a payload may lie at an odd address.
void load_exact(const std::byte* payload, std::span<float> rows) {
  std::array<std::uint16_t, 512> halves;
  for (std::size_t at = 0; at < rows.size(); at += halves.size()) {
    const std::size_t n = std::min(halves.size(), rows.size() - at);
    std::memcpy(halves.data(), payload + at * sizeof(std::uint16_t), n * sizeof(std::uint16_t));
    nn::f16_to_f32(std::span(halves).first(n), rows.subspan(at, n));
  }
}

void load_scales(const std::byte* bytes, std::size_t n, Scales& out) {
  std::array<std::uint16_t, Segment::kMaxTokens> halves;
  std::memcpy(halves.data(), bytes, n * sizeof(std::uint16_t));
  nn::f16_to_f32(std::span(halves).first(n), std::span(out).first(n));
}

/// Copies tags and groups of n_tokens tokens to where they lie in a larger segment.
void copy_groups(const std::pmr::vector<std::byte>& from, const SegmentLayout& old, std::size_t n_tokens,
                 std::pmr::vector<std::byte>& to, const SegmentLayout& now, std::size_t n_tokens_now) {
  for (std::size_t p = 0; p < kTagBits; ++p) {
    std::copy_n(from.begin() + p * plane_bytes(n_tokens), plane_bytes(n_tokens),
                to.begin() + p * plane_bytes(n_tokens_now));
  }
  for (std::size_t w = 0; w < kWidthCount; ++w) {
    const std::size_t end = w + 1 < kWidthCount ? old.scales[w + 1] : old.total;
    std::copy_n(from.begin() + old.scales[w], old.payloads[w] - old.scales[w], to.begin() + now.scales[w]);
    std::copy_n(from.begin() + old.payloads[w], end - old.payloads[w], to.begin() + now.payloads[w]);
  }
}

}  // namespace

void Segment::append(std::span<const Width> widths, std::span<const float> rows, const Side& side) {
  const std::size_t head_dim = side.rotation->head_dim();
  assert(n_tokens_ + widths.size() <= kMaxTokens && rows.size() == widths.size() * head_dim);
  if (widths.empty()) return;
  auto counts = counts_;
  for (const Width width : widths) ++counts[static_cast<std::size_t>(width)];
  const std::size_t n_tokens = n_tokens_ + widths.size();
  const SegmentLayout layout(n_tokens, counts, head_dim);
  std::pmr::vector<std::byte> bytes(layout.total, bytes_.get_allocator());
  copy_groups(bytes_, SegmentLayout(n_tokens_, counts_, head_dim), n_tokens_, bytes, layout, n_tokens);

  std::vector<float> row(head_dim);
  std::vector<std::uint16_t> halves;
  auto ranks = counts_;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const auto w = static_cast<std::size_t>(widths[i]);
    const std::size_t rank = ranks[w]++;
    std::byte* const payload = bytes.data() + layout.payloads[w] + rank * layout.payload_size[w];
    std::copy_n(rows.begin() + i * head_dim, head_dim, row.begin());
    set_tag(bytes.data(), n_tokens, n_tokens_ + i, widths[i]);
    if (widths[i] == Width::k16) {
      store_exact(row, halves, payload);
      continue;
    }
    centre_and_rotate(row, side);
    const std::uint16_t scale = encode(widths[i], row, side.rule, {payload, layout.payload_size[w]});
    std::memcpy(bytes.data() + layout.scales[w] + rank * sizeof(scale), &scale, sizeof(scale));
  }
  n_tokens_ = n_tokens;
  counts_ = counts;
  bytes_ = std::move(bytes);
}

void Segment::unpack(const Side& side, Tile& tile) const {
  const std::size_t head_dim = side.rotation->head_dim();
  const SegmentLayout layout(n_tokens_, counts_, head_dim);
  tile.n_tokens = n_tokens_;
  tile.rotated = counts_[static_cast<std::size_t>(Width::k16)] != n_tokens_;
  tile.rows.resize(n_tokens_ * head_dim);
  tile.correction.assign(n_tokens_, 0.0F);
  if (!tile.rotated) {  // one group, so in token order
    load_exact(bytes_.data() + layout.payloads[static_cast<std::size_t>(Width::k16)], tile.rows);
    return;
  }

  Scales scales;
  for (const Width width : kAllWidths) {
    const auto w = static_cast<std::size_t>(width);
    if (counts_[w] == 0) continue;
    const float correction = score_correction(width, side.rule);
    if (width != Width::k16) load_scales(bytes_.data() + layout.scales[w], counts_[w], scales);
    for_each_token(bytes_.data(), n_tokens_, width, [&](std::size_t token, std::size_t rank) {
      const std::byte* const payload = bytes_.data() + layout.payloads[w] + rank * layout.payload_size[w];
      const auto row = std::span(tile.rows).subspan(token * head_dim, head_dim);
      if (width == Width::k16) {
        load_exact(payload, row);
        centre_and_rotate(row, side);
        return;
      }
      decode(width, {payload, layout.payload_size[w]}, scales[rank], row);
      tile.correction[token] = correction * scales[rank] * scales[rank];
    });
  }
}

float Segment::read(std::size_t token, const Side& side, std::span<float> row) const {
  const SegmentLayout layout(n_tokens_, counts_, side.rotation->head_dim());
  const Width stored = width(token);
  const auto w = static_cast<std::size_t>(stored);
  std::size_t rank = 0;
  for (std::size_t t = 0; t < token; ++t) rank += width(t) == stored ? 1 : 0;
  const std::byte* const payload = bytes_.data() + layout.payloads[w] + rank * layout.payload_size[w];
  if (stored == Width::k16) {
    load_exact(payload, row);
    return 0;
  }
  Scales scale;
  load_scales(bytes_.data() + layout.scales[w] + rank * scale_bytes(stored), 1, scale);
  decode(stored, {payload, layout.payload_size[w]}, scale[0], row);
  return score_correction(stored, side.rule) * scale[0] * scale[0];
}

Width Segment::width(std::size_t token) const {
  assert(token < n_tokens_);
  return tag(bytes_.data(), n_tokens_, token);
}

}  // namespace miser::kv
