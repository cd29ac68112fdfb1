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

/// A vector among those of its width in untiled bytes: its payload and its scale, which may lie at any
/// address.
struct Row {
  Row(std::span<std::byte> bytes, const SegmentLayout& layout, Width of, std::size_t rank)
      : width(of),
        payload(bytes.subspan(layout.payloads[index()] + rank * layout.payload_size[index()],
                              layout.payload_size[index()])),
        scale(bytes.subspan(layout.scales[index()] + rank * scale_bytes(width), scale_bytes(width))) {}

  /// Encodes x, which is centred and rotated. REQUIRES: not 16 bits.
  void encode(std::span<const float> x, const Side& side) const {
    const std::uint16_t half = kv::encode(width, x, side.rule, payload);
    std::memcpy(scale.data(), &half, sizeof(half));
  }

  /// Reads it back, centred and rotated.
  void decode(const Side& side, std::span<float> x) const {
    if (width == Width::k16) {
      load_exact(payload.data(), x);
      centre_and_rotate(x, side);
      return;
    }
    std::uint16_t half = 0;
    std::memcpy(&half, scale.data(), sizeof(half));
    float scale_value = 0;
    nn::f16_to_f32({&half, 1}, {&scale_value, 1});
    kv::decode(width, payload, scale_value, x);
  }

  std::size_t index() const { return static_cast<std::size_t>(width); }

  Width width;
  std::span<std::byte> payload;
  std::span<std::byte> scale;
};

/// Copies tags and groups of n_tokens tokens to where they lie in a larger segment.
void copy_groups(std::span<const std::byte> from, const SegmentLayout& old, std::size_t n_tokens,
                 std::vector<std::byte>& to, const SegmentLayout& now, std::size_t n_tokens_now) {
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

/// The bytes of a segment with every tile turned back into rows.
std::vector<std::byte> untiled(std::span<const std::byte> bytes, const Groups& groups, SideKind kind) {
  std::vector<std::byte> rows(bytes.begin(), bytes.end());
  for (const Width width : groups.present()) {
    const auto w = static_cast<std::size_t>(width);
    for (std::size_t i = 0; i < groups.tiled[w]; i += tile_tokens(kind)) {
      untile_rows(kind, width, groups.head_dim,
                  rows.data() + groups.layout.payloads[w] + i * groups.layout.payload_size[w]);
    }
  }
  return rows;
}

}  // namespace

void Segment::append(std::span<const Width> widths, std::span<const float> rows, const Side& side,
                     std::span<const std::uint8_t> new_ratings) {
  const std::size_t head_dim = side.rotation->head_dim();
  assert(n_tokens_ + widths.size() <= kMaxTokens && rows.size() == widths.size() * head_dim);
  assert(new_ratings.empty() || new_ratings.size() == widths.size());
  if (widths.empty()) return;
  if (n_tokens_ == 0) rated_ = !new_ratings.empty();
  assert(rated_ == !new_ratings.empty());
  auto counts = counts_;
  for (const Width width : widths) ++counts[static_cast<std::size_t>(width)];
  const std::size_t n_tokens = n_tokens_ + widths.size();
  const SegmentLayout layout(n_tokens, counts, head_dim);
  std::vector<std::byte> made(layout.total + (rated_ ? n_tokens : 0));
  copy_groups(bytes(), SegmentLayout(n_tokens_, counts_, head_dim), n_tokens_, made, layout, n_tokens);

  std::vector<float> x(head_dim);
  std::vector<std::uint16_t> halves;
  auto ranks = counts_;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const Row row(made, layout, widths[i], ranks[static_cast<std::size_t>(widths[i])]++);
    std::copy_n(rows.begin() + i * head_dim, head_dim, x.begin());
    set_tag(made.data(), n_tokens, n_tokens_ + i, widths[i]);
    if (widths[i] == Width::k16) {
      store_exact(x, halves, row.payload.data());
      continue;
    }
    centre_and_rotate(x, side);
    row.encode(x, side);
  }
  tile_new_rows(made.data(), layout, counts_, counts, head_dim, side.kind);
  std::copy(ratings().begin(), ratings().end(), made.begin() + layout.total);
  std::copy(std::as_bytes(new_ratings).begin(), std::as_bytes(new_ratings).end(),
            made.end() - new_ratings.size());
  replace(n_tokens, counts, made);
}

void Segment::replace(std::size_t n_tokens, const std::array<std::uint16_t, kWidthCount>& counts,
                      std::span<const std::byte> bytes) {
  bytes_.assign(bytes);
  n_tokens_ = static_cast<std::uint16_t>(n_tokens);
  counts_ = counts;
}

void Segment::keep(std::size_t first, std::span<const Width> widths, const Side& side) {
  assert(first + widths.size() <= n_tokens_);
  const Groups old(*this, side);
  std::vector<std::byte> old_bytes = untiled(bytes(), old, side.kind);
  std::array<std::uint16_t, kWidthCount> counts{};
  for (const Width width : widths) ++counts[static_cast<std::size_t>(width)];
  const SegmentLayout layout(widths.size(), counts, old.head_dim);
  std::vector<std::byte> bytes(layout.total + (rated_ ? widths.size() : 0));

  std::array<std::uint16_t, kWidthCount> from{};  // ranks of the next vectors
  std::array<std::uint16_t, kWidthCount> to{};
  for (std::size_t t = 0; t < first; ++t) ++from[static_cast<std::size_t>(width(t))];
  std::vector<float> x(old.head_dim);
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const Width was = width(first + i);
    assert(widths[i] <= was);
    const Row source(old_bytes, old.layout, was, from[static_cast<std::size_t>(was)]++);
    const Row target(bytes, layout, widths[i], to[static_cast<std::size_t>(widths[i])]++);
    set_tag(bytes.data(), widths.size(), i, widths[i]);
    if (widths[i] == was) {
      std::ranges::copy(source.payload, target.payload.begin());
      std::ranges::copy(source.scale, target.scale.begin());
    } else {
      source.decode(side, x);
      target.encode(x, side);
    }
  }
  tile_new_rows(bytes.data(), layout, {}, counts, old.head_dim, side.kind);
  if (rated_) std::copy_n(ratings().begin() + first, widths.size(), bytes.begin() + layout.total);
  replace(widths.size(), counts, bytes);
}

void Segment::assign(std::size_t n_tokens, std::span<const std::byte> bytes, bool rated) {
  std::array<std::uint16_t, kWidthCount> counts{};
  for (std::size_t t = 0; t < n_tokens; ++t)
    ++counts[static_cast<std::size_t>(tag(bytes.data(), n_tokens, t))];
  rated_ = rated && n_tokens > 0;
  replace(n_tokens, counts, bytes);
}

void Segment::truncate(std::size_t n_tokens, const Side& side) {
  if (n_tokens >= n_tokens_) return;
  std::vector<Width> widths(n_tokens);
  for (std::size_t t = 0; t < n_tokens; ++t) widths[t] = width(t);
  keep(0, widths, side);
}

void Segment::unpack(const Side& side, Tile& tile) const {
  const std::size_t head_dim = side.rotation->head_dim();
  tile.n_tokens = n_tokens_;
  tile.rotated = counts_[static_cast<std::size_t>(Width::k16)] != n_tokens_;
  tile.rows.resize(n_tokens_ * head_dim);
  tile.correction.assign(n_tokens_, 0.0F);
  tile.unit.assign(n_tokens_, 0.0F);
  if (!tile.rotated) {  // one group, so in token order
    load_exact(Groups(*this, side).row(Width::k16, 0), tile.rows);
    return;
  }

  const Groups groups(*this, side);
  unpack_coded(groups, side, tile);
  for_each_token(bytes().data(), n_tokens_, Width::k16, [&](std::size_t token, std::size_t rank) {
    const auto row = std::span(tile.rows).subspan(token * head_dim, head_dim);
    load_exact(groups.row(Width::k16, rank), row);
    centre_and_rotate(row, side);
  });
}

std::uint8_t Segment::rating(std::size_t token) const {
  return rated_ ? std::to_integer<std::uint8_t>(ratings()[token]) : 0;
}

Width Segment::width(std::size_t token) const {
  assert(token < n_tokens_);
  return tag(bytes().data(), n_tokens_, token);
}

}  // namespace miser::kv
