#pragma once
#include <cstddef>
#include <vector>

#include "kv/cache.h"
#include "kv/width.h"

namespace miser::report {

/// The width of every vector of a cache.
struct WidthMap {
  std::size_t n_tokens = 0;
  std::size_t n_layers = 0;
  std::size_t n_kv_heads = 0;
  std::vector<kv::Width> widths;  ///< [n_tokens, n_layers, K and V, n_kv_heads]

  std::size_t per_token() const { return n_layers * 2 * n_kv_heads; }
};

/// Reads the widths that are stored, so that they cannot differ from what attention reads. Sinks and staged
/// tokens have 16 bits.
WidthMap width_map(const kv::Cache& cache);

}  // namespace miser::report
