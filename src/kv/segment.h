#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_vector.h"
#include "kv/codec.h"
#include "kv/segment_side.h"
#include "kv/shared_bytes.h"
#include "kv/width.h"

namespace miser::kv {

/// Packed vectors read back as floats, in token order.
struct Tile {
  std::size_t n_tokens = 0;
  bool rotated = false;           ///< rows are R (x - centre); otherwise x itself
  AlignedVector<float> rows;      ///< [n_tokens, head_dim]
  std::vector<float> correction;  ///< [n_tokens]: c * scale^2 of each token (score_correction)
  std::vector<float> unit;  ///< [n_tokens]: a row of 1 to 8 bits is unit * whole numbers of int8; else 0
};

/// Packed vectors of a run of consecutive tokens of one (layer, KV head, K or V), grouped by width: each
/// group is its scales, then its payloads, in token order. A tag of 3 bits per token gives its width, so
/// ranks in the tags give both orders and no index is stored. A byte per token may say what its vector is
/// worth (kv/demotion.h). One allocation, exactly as large as its content, drawn in docs/cache-layout.md;
/// copies share it until one of them changes. Every call on one segment must pass the same side.
class Segment {
 public:
  static constexpr std::size_t kMaxTokens = 512;

  explicit Segment(CountingResource* memory) : bytes_(memory) {}
  /// A copy of `other`, whose bytes `memory` counts too.
  Segment(const Segment& other, CountingResource* memory)
      : counts_(other.counts_),
        n_tokens_(other.n_tokens_),
        rated_(other.rated_),
        bytes_(other.bytes_, memory) {}
  // A copy must say who counts its bytes.
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  Segment(Segment&&) = default;
  Segment& operator=(Segment&&) = default;
  ~Segment() = default;

  /// Appends widths.size() vectors; `rows` [n, head_dim] are exact, neither centred nor rotated, and every
  /// value is a binary16 number (so that 16 bits store it exactly). The bytes do not depend on how many calls
  /// bring the tokens. `ratings`: [n], or empty. REQUIRES: size() + n <= kMaxTokens, all vectors are rated or
  /// none.
  void append(std::span<const Width> widths, std::span<const float> rows, const Side& side,
              std::span<const std::uint8_t> ratings = {});

  /// Keeps the vectors [first, first + widths.size()) alone, at `widths`, and frees what is left over. One
  /// that gets narrower is read back and encoded again, so its errors add up; the bytes of the others are
  /// those that append() made. REQUIRES: first + widths.size() <= size(), no vector gets wider.
  void keep(std::size_t first, std::span<const Width> widths, const Side& side);
  /// Drops the vectors from `n_tokens` on.
  void truncate(std::size_t n_tokens, const Side& side);

  /// Takes over what bytes() of a segment of `n_tokens` vectors gave. REQUIRES: checked (read_layer()).
  void assign(std::size_t n_tokens, std::span<const std::byte> bytes, bool rated);

  /// Reads everything back. The tile is rotated unless every vector has 16 bits.
  void unpack(const Side& side, Tile& tile) const;

  std::size_t size() const { return n_tokens_; }
  Width width(std::size_t token) const;
  /// 0 where vectors are not rated.
  std::uint8_t rating(std::size_t token) const;
  /// Number of vectors at each width.
  const std::array<std::uint16_t, kWidthCount>& counts() const { return counts_; }
  /// Tags, scales, payload and ratings; valid until the next change.
  std::span<const std::byte> bytes() const { return bytes_.get(); }
  /// Bytes on the heap: those and their header.
  std::size_t heap_bytes() const { return bytes_.allocated(); }
  /// Whether copies hold them too.
  bool shared() const { return bytes_.shared(); }

 private:
  std::span<const std::byte> ratings() const { return bytes().last(rated_ ? n_tokens_ : 0); }
  void replace(std::size_t n_tokens, const std::array<std::uint16_t, kWidthCount>& counts,
               std::span<const std::byte> bytes);

  std::array<std::uint16_t, kWidthCount> counts_{};
  std::uint16_t n_tokens_ = 0;
  bool rated_ = false;
  SharedBytes bytes_;
};

}  // namespace miser::kv
