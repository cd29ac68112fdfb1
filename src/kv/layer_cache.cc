#include "kv/layer_cache.h"

#include <algorithm>

namespace miser::kv {

LayerCache::LayerCache(const CacheConfig& config, std::pmr::memory_resource* memory)
    : sinks(config.sinks),
      exact_k(memory),
      exact_v(memory),
      received(memory),
      heads(memory),
      row_elements_(config.n_kv_heads * config.head_dim),
      received_stride_(received_stride(config)),
      max_rows_(config.sinks + std::min(config.window + config.block, config.context)) {
  heads.reserve(config.n_kv_heads);
  for (std::size_t g = 0; g < config.n_kv_heads; ++g) heads.emplace_back(memory);
}

std::size_t LayerCache::exact_row(std::size_t position) const {
  return position < sinks || staged_begin <= sinks ? position : position - staged_begin + sinks;
}

void LayerCache::copy_tokens(const LayerCache& other) {
  n_tokens = other.n_tokens;
  staged_begin = other.staged_begin;
  exact_capacity = other.exact_capacity;
  exact_k = other.exact_k;
  exact_v = other.exact_v;
  received = other.received;
  auto copy = [](const std::pmr::vector<Segment>& from, std::pmr::vector<Segment>& to) {
    to.clear();
    to.reserve(from.size());
    for (const Segment& segment : from) to.emplace_back(segment, to.get_allocator().resource());
  };
  for (std::size_t g = 0; g < heads.size(); ++g) {
    copy(other.heads[g].k, heads[g].k);
    copy(other.heads[g].v, heads[g].v);
  }
}

void LayerCache::reserve_exact(std::size_t rows, bool with_received) {
  if (rows > exact_capacity) {
    exact_capacity = std::max(rows, std::min(2 * rows, max_rows_));
    // Move-assigned rather than resized, so that they are exactly as large as asked for.
    exact_k = std::pmr::vector<std::uint16_t>(exact_capacity * row_elements_, exact_k.get_allocator());
    exact_v = std::pmr::vector<std::uint16_t>(exact_capacity * row_elements_, exact_v.get_allocator());
  }
  const std::size_t wanted = with_received ? exact_capacity * received_stride_ : 0;
  if (received.size() != wanted) received = std::pmr::vector<float>(wanted, received.get_allocator());
}

}  // namespace miser::kv
