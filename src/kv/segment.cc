#include "kv/segment.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "kv/packed_groups.h"
#include "kv/segment_unpack.h"
#include "nn/ops.h"

namespace miser::kv {
namespace {

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

/// Turns the rows into tiles where an append from `old` to `now` vectors has completed some.
void tile_new_rows(std::byte* bytes, const SegmentLayout& layout,
                   const std::array<std::uint16_t, kWidthCount>& old,
                   const std::array<std::uint16_t, kWidthCount>& now, std::size_t head_dim, SideKind kind) {
  for (const Width width : kAllWidths) {
    const auto w = static_cast<std::size_t>(width);
    const std::size_t end = tiled_vectors(kind, width, head_dim, now[w]);
    for (std::size_t i = tiled_vectors(kind, width, head_dim, old[w]); i < end; i += tile_tokens(kind)) {
      tile_rows(kind, width, head_dim, bytes + layout.payloads[w] + i * layout.payload_size[w]);
    }
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
  tile_new_rows(bytes.data(), layout, counts_, counts, head_dim, side.kind);
  n_tokens_ = n_tokens;
  counts_ = counts;
  bytes_ = std::move(bytes);
}

void Segment::unpack(const Side& side, Tile& tile) const {
  const std::size_t head_dim = side.rotation->head_dim();
  tile.n_tokens = n_tokens_;
  tile.rotated = counts_[static_cast<std::size_t>(Width::k16)] != n_tokens_;
  tile.rows.resize(n_tokens_ * head_dim);
  tile.correction.assign(n_tokens_, 0.0F);
  if (!tile.rotated) {  // one group, so in token order
    load_exact(Groups(*this, side).row(Width::k16, 0), tile.rows);
    return;
  }

  const Groups groups(*this, side);
  unpack_coded(groups, side, tile);
  for_each_token(bytes_.data(), n_tokens_, Width::k16, [&](std::size_t token, std::size_t rank) {
    const auto row = std::span(tile.rows).subspan(token * head_dim, head_dim);
    load_exact(groups.row(Width::k16, rank), row);
    centre_and_rotate(row, side);
  });
}

Width Segment::width(std::size_t token) const {
  assert(token < n_tokens_);
  return tag(bytes_.data(), n_tokens_, token);
}

}  // namespace miser::kv
