#include "kv/cache_file.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace miser::kv {
namespace {

void put_rows(const std::pmr::vector<std::uint16_t>& rows, const LayerCache& layer, std::size_t row_elements,
              ByteWriter& out) {
  const std::size_t n = layer.exact_rows() * row_elements;
  for (std::size_t g = 0; g < layer.heads.size(); ++g)
    out.put_all(std::span(rows).subspan(g * layer.exact_capacity * row_elements, n));
}

void take_rows(std::span<const std::byte> stored, const LayerCache& layer, std::size_t row_elements,
               std::pmr::vector<std::uint16_t>& rows) {
  const std::size_t n = stored.size() / layer.heads.size();
  for (std::size_t g = 0; g < layer.heads.size(); ++g) {
    if (n > 0)
      std::memcpy(&rows[g * layer.exact_capacity * row_elements], stored.subspan(g * n, n).data(), n);
  }
}

void load_layer(const CachePositions& at, const LayerSnapshot& from, const CacheConfig& config,
                CountingResource* memory, LayerCache& layer) {
  layer.n_tokens = at.n_tokens;
  layer.staged_begin = at.staged_begin;
  layer.reserve_exact(layer.exact_rows(), config.memory > 0 || !from.received.empty());
  if (!from.received.empty()) std::memcpy(layer.received.data(), from.received.data(), from.received.size());
  take_rows(from.exact_k, layer, config.head_dim, layer.exact_k);
  take_rows(from.exact_v, layer, config.head_dim, layer.exact_v);
  auto next = from.segments.begin();
  for (PackedHead& head : layer.heads) {
    head.add_segments(segment_count(config, at.staged_begin), memory);
    for (auto* const side : {&head.k, &head.v}) {
      for (Segment& segment : *side) {
        segment.assign(next->n_tokens, next->bytes, config.memory > 0);
        ++next;
      }
    }
  }
}

/// What the segments take; a file may say more than the limit allows.
std::size_t bytes_of(std::span<const LayerSnapshot> layers) {
  std::size_t n = 0;
  for (const LayerSnapshot& layer : layers) {
    n += layer.segments.size() * sizeof(Segment);
    for (const auto& segment : layer.segments)
      n += segment.n_tokens == 0 ? 0 : SharedBytes::kHeaderBytes + segment.bytes.size();
  }
  return n;
}

}  // namespace

void CacheFile::save_positions(const Cache& cache, ByteWriter& out) {
  const LayerCache& first = cache.layer(0);
  for (const std::size_t position :
       {first.n_tokens, first.staged_begin, cache.first_kept_, cache.rope_base_, cache.sink_offset_})
    out.put(static_cast<std::uint64_t>(position));
  out.put(static_cast<std::uint8_t>(cache.budget_ ? cache.budget_->cap() : Width::k1));
  out.put(cache.budget_ ? cache.budget_->log_price() : 0.0F);
}

void CacheFile::save_layer(const Cache& cache, std::size_t index, ByteWriter& out) {
  const CacheConfig& config = cache.config();
  const LayerCache& layer = cache.layer(index);
  out.put(static_cast<std::uint8_t>(layer.received.empty() ? 0 : 1));
  if (!layer.received.empty())
    out.put_all(std::span(layer.received).first(layer.exact_rows() * received_stride(config)));
  put_rows(layer.exact_k, layer, config.head_dim, out);
  put_rows(layer.exact_v, layer, config.head_dim, out);
  const std::size_t n_segments = segment_count(config, layer.staged_begin);
  for (const PackedHead& head : layer.heads) {
    for (const auto* const side : {&head.k, &head.v}) {
      for (const Segment& segment : std::span(*side).first(n_segments)) {
        out.put(static_cast<std::uint32_t>(segment.bytes().size()));
        out.put_bytes(segment.bytes());
      }
    }
  }
}

void CacheFile::load(const CachePositions& at, std::span<const LayerSnapshot> layers, Cache& cache) {
  cache.clear();
  if (cache.budget_) {
    const std::size_t n = cache.bytes() + bytes_of(layers);
    if (n > cache.config().memory)
      fail("found tokens of {} bytes, expected at most {}", n, cache.config().memory);
    if (at.cap > cache.budget_->usual_cap()) fail("found tokens of another budget than the KV memory's");
    cache.budget_->restore(at.cap, at.log_price);
  }
  for (std::size_t i = 0; i < layers.size(); ++i)
    load_layer(at, layers[i], cache.config(), cache.memory(), cache.layer(i));
  cache.first_kept_ = at.first_kept;
  cache.rope_base_ = at.rope_base;
  cache.sink_offset_ = at.sink_offset;
}

}  // namespace miser::kv
