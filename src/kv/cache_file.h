#pragma once
#include <cstddef>
#include <span>

#include "base/byte_writer.h"
#include "kv/cache.h"
#include "kv/cache_snapshot.h"

namespace miser::kv {

/// What it takes to go on with the tokens of a cache from a file (docs/snapshot.md).
class CacheFile {
 public:
  /// REQUIRES: not empty.
  static void save_positions(const Cache& cache, ByteWriter& out);
  static void save_layer(const Cache& cache, std::size_t index, ByteWriter& out);
  /// Forgets everything and takes over what read_positions() and read_layer(), of every layer, have read with
  /// the cache's configuration. Throws Error when it does not fit into the limit of memory; then the cache is
  /// empty.
  static void load(const CachePositions& at, std::span<const LayerSnapshot> layers, Cache& cache);
};

}  // namespace miser::kv
