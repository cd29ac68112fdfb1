#pragma once
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>
#include <vector>

#include "kv/counting_resource.h"
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
  std::size_t memory = 0;     ///< most bytes ever allocated; 0: no limit
  bool drop_oldest = false;   ///< when nothing can be demoted any more: else no token comes in
  bool shift = false;         ///< Cache::shift() will be called when it is full
  Width widest = Width::k16;  ///< of all that the chooser gives; matters to a cache with a limit alone
};

/// Floats kept per exact token and layer for LeavingBlock::received*: sums per query head, then squares and
/// maxima per KV head.
constexpr std::size_t received_stride(const CacheConfig& config) {
  return config.n_heads + 2 * config.n_kv_heads;
}

/// The positions [first, query) whose tokens count what the query at `query` pays to them.
std::size_t first_counted(const CacheConfig& config, std::size_t exact_begin, std::size_t query);
/// Counts the probabilities `factor` * weights[i] that head `head` of KV head g's group pays to consecutive
/// tokens; `noted` are the floats of the first, received_stride(config) apart.
void count_received(const CacheConfig& config, std::size_t g, std::size_t head,
                    std::span<const float> weights, float factor, float* noted);

/// Packed tokens of one KV head: segment s holds the K and V of positions [512 s, 512 (s + 1)), sinks left
/// out.
struct PackedHead {
  explicit PackedHead(CountingResource* memory) : k(memory), v(memory) {}
  /// Appends empty segments until there are `n` of each side, with no room for more.
  void add_segments(std::size_t n, CountingResource* memory);

  std::pmr::vector<Segment> k;
  std::pmr::vector<Segment> v;
};

/// The state of one layer between two forward passes. Positions [0, min(sinks, staged_begin)) are sinks,
/// [sinks, staged_begin) are packed, [staged_begin, n_tokens) are staged: exact, in binary16, not rotated.
struct LayerCache {
  /// With a limit of memory it has all rows from the start, so that they never grow.
  LayerCache(const CacheConfig& config, CountingResource* memory);

  /// Takes over the tokens of `other`, which keeps them, and shares its segments. REQUIRES: no packed tokens.
  void copy_tokens(const LayerCache& other);

  /// Row of a sink's or staged token's position in the exact arrays: sinks come first, without a gap.
  std::size_t exact_row(std::size_t position) const;
  std::size_t exact_rows() const { return exact_row(n_tokens); }
  /// Makes room for `rows` exact rows per head, and for what they received if asked; keeps no content.
  void reserve_exact(std::size_t rows, bool with_received);
  /// The same, and keeps the exact rows and what they received; the rest is zero.
  void grow_exact(std::size_t rows, bool with_received);
  /// Drops the exact rows of the positions [from, staged_begin), which have been packed.
  void drop_packed_rows(std::size_t from);
  /// Drops the exact rows of the positions from n on, and what these have paid to the others: of what a token
  /// received it keeps the share of its queries that are left. `horizon`: queries that are counted for each.
  void truncate_exact(std::size_t n, std::size_t horizon);

  std::size_t sinks;
  std::size_t n_tokens = 0;
  std::size_t staged_begin = 0;             ///< a multiple of the block, or where the cache was truncated
  std::size_t exact_capacity = 0;           ///< rows per head in the three arrays below
  std::pmr::vector<std::uint16_t> exact_k;  ///< [n_kv_heads, exact_capacity, head_dim] in binary16
  std::pmr::vector<std::uint16_t> exact_v;  ///< the same
  std::pmr::vector<float> received;         ///< [exact_capacity, received_stride(config)], empty if unwanted
  std::pmr::vector<PackedHead> heads;       ///< [n_kv_heads]

 private:
  CountingResource* memory_;
  std::size_t row_elements_;
  std::size_t n_heads_;
  std::size_t received_stride_;
  std::size_t max_rows_;
};

}  // namespace miser::kv
