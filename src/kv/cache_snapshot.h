#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "base/byte_reader.h"
#include "kv/layer_cache.h"
#include "kv/width.h"

namespace miser::kv {

/// Where the tokens of a cache are, and the state of its budget. docs/snapshot.md describes the bytes.
struct CachePositions {
  std::size_t n_tokens = 0;
  std::size_t staged_begin = 0;
  std::size_t first_kept = 0;
  std::size_t rope_base = 0;  ///< as Cache::shifted()
  std::size_t sink_offset = 0;
  Width cap = Width::k1;  ///< as Budget::cap() and Budget::log_price()
  float log_price = 0;
};

/// Reads them. Throws Error unless a cache of this configuration can have them.
CachePositions read_positions(ByteReader& in, const CacheConfig& config);

/// The tokens of one layer: views of a file, all of the sizes that the positions imply.
struct LayerSnapshot {
  struct PackedVectors {
    std::size_t n_tokens;
    std::span<const std::byte> bytes;  ///< as Segment::bytes()
  };
  std::span<const std::byte> received;  ///< [exact rows, received_stride(config)] floats, or empty
  std::span<const std::byte> exact_k;   ///< [n_kv_heads, exact rows, head_dim] in binary16
  std::span<const std::byte> exact_v;   ///< the same
  std::vector<PackedVectors> segments;  ///< [n_kv_heads, K and V, segments of a side]
};

/// Segments of a side that hold the packed tokens before `packed_end`.
std::size_t segment_count(const CacheConfig& config, std::size_t packed_end);

/// Reads it. Throws Error unless every size and every tag is what the positions imply.
LayerSnapshot read_layer(ByteReader& in, const CacheConfig& config, const CachePositions& at);

}  // namespace miser::kv
