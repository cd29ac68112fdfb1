#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <span>
#include <vector>

#include "kv/counting_resource.h"
#include "kv/rotation.h"
#include "kv/segment.h"

namespace miser::kv {

struct CacheConfig {
  std::size_t n_layers = 0;
  std::size_t n_kv_heads = 0;
  std::size_t n_heads = 0;
  std::size_t head_dim = 0;
  std::size_t context = 0;  ///< most positions the cache will hold
  std::size_t window = 32;  ///< W: newest tokens that stay exact
  std::size_t block = 32;   ///< B: tokens are committed in aligned blocks of B; divides Segment::kMaxTokens
  std::size_t sinks = 4;    ///< first tokens that stay exact for ever
  ScaleRule scales = ScaleRule::kUnbiased;
};

/// Fixed vectors subtracted before quantising, [n_layers, n_kv_heads, head_dim] each; empty means zero.
struct Centres {
  std::vector<float> k;
  std::vector<float> v;
};

/// Floats kept per exact token and layer for LeavingBlock::received*: sums per query head, then squares and
/// maxima per KV head.
constexpr std::size_t received_stride(const CacheConfig& config) {
  return config.n_heads + 2 * config.n_kv_heads;
}

/// Packed tokens of one KV head: segment s holds the K and V of positions [256 s, 256 (s + 1)), sinks left
/// out.
struct PackedHead {
  explicit PackedHead(std::pmr::memory_resource* memory) : k(memory), v(memory) {}

  std::pmr::vector<Segment> k;
  std::pmr::vector<Segment> v;
};

/// The state of one layer between two forward passes. Positions [0, min(sinks, staged_begin)) are sinks,
/// [sinks, staged_begin) are packed, [staged_begin, n_tokens) are staged: exact, in binary16, not rotated.
struct LayerCache {
  LayerCache(const CacheConfig& config, std::pmr::memory_resource* memory);

  /// Takes over the tokens of `other`, which keeps them.
  void copy_tokens(const LayerCache& other);

  /// Row of a sink's or staged token's position in the exact arrays: sinks come first, without a gap.
  std::size_t exact_row(std::size_t position) const;
  std::size_t exact_rows() const { return exact_row(n_tokens); }
  /// Makes room for `rows` exact rows per head, and for what they received if asked; keeps no content.
  void reserve_exact(std::size_t rows, bool with_received);

  std::size_t sinks;
  std::size_t n_tokens = 0;
  std::size_t staged_begin = 0;             ///< a multiple of the block
  std::size_t exact_capacity = 0;           ///< rows per head in the three arrays below
  std::pmr::vector<std::uint16_t> exact_k;  ///< [n_kv_heads, exact_capacity, head_dim] in binary16
  std::pmr::vector<std::uint16_t> exact_v;  ///< the same
  std::pmr::vector<float> received;         ///< [exact_capacity, received_stride(config)], empty if unwanted
  std::pmr::vector<PackedHead> heads;       ///< [n_kv_heads]

 private:
  std::size_t row_elements_;
  std::size_t received_stride_;
  std::size_t max_rows_;
};

/// The KV cache of one sequence. Exactness goes by position, never by chunk: a block [b, b + B) is read
/// packed from the query at position t on when b + B + W <= t. See docs/ARCHITECTURE.md.
class Cache {
 public:
  /// `memory` receives every allocation that grows with tokens. Throws Error when the configuration is
  /// impossible (a block that does not divide a segment, centres of another size).
  explicit Cache(const CacheConfig& config, Centres centres = {},
                 std::pmr::memory_resource* memory = std::pmr::new_delete_resource());

  const CacheConfig& config() const { return config_; }
  std::size_t size() const { return layers_.empty() ? 0 : layers_.back().n_tokens; }
  void clear();
  /// Takes over the tokens of `other`, which keeps them. REQUIRES: the same configuration and centres.
  void copy_tokens(const Cache& other);

  /// First position that the query at `position` reads exactly (sinks aside).
  std::size_t exact_begin(std::size_t position) const;
  LayerCache& layer(std::size_t index) { return layers_[index]; }
  const LayerCache& layer(std::size_t index) const { return layers_[index]; }
  Side key_side(std::size_t layer, std::size_t head) const;
  Side value_side(std::size_t layer, std::size_t head) const;
  const Rotation& rotation() const { return rotation_; }

  /// Bytes allocated now and at most so far: payload, scales, tags, staged rows, signals, centres, slack.
  std::size_t bytes() const { return memory_->bytes(); }
  std::size_t bytes_peak() const { return memory_->peak(); }
  /// Bytes that the same tokens take in binary16.
  std::size_t bytes_f16() const;
  /// 8 * bytes() / elements; 0 when empty.
  double bits_per_element() const;
  /// Vectors at each width; sinks and staged vectors count as 16 bits.
  std::array<std::uint64_t, kWidthCount> vectors_at() const;

 private:
  Side side(const std::pmr::vector<float>& centres, std::size_t layer, std::size_t head) const;

  CacheConfig config_;
  std::unique_ptr<CountingResource> memory_;
  std::pmr::vector<float> centres_k_;  ///< as Centres::k, or one row of zeros for all heads
  std::pmr::vector<float> centres_v_;
  Rotation rotation_;
  std::pmr::vector<LayerCache> layers_;
};

}  // namespace miser::kv
