#include "kv/cache.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace miser::kv {
namespace {

void check(const CacheConfig& config) {
  if (config.block == 0 || Segment::kMaxTokens % config.block != 0) {
    fail_usage("KV block of {} tokens does not divide a segment of {}", config.block, Segment::kMaxTokens);
  }
}

void check_centre(const std::vector<float>& centre, std::size_t expected, const char* side) {
  if (!centre.empty() && centre.size() != expected) {
    fail("centres of {}: found {} values, expected layers x KV heads x head_dim = {}", side, centre.size(),
         expected);
  }
  if (!std::all_of(centre.begin(), centre.end(), [](float x) { return std::isfinite(x); })) {
    fail("centres of {}: found a value that is not finite", side);
  }
}

}  // namespace

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

Cache::Cache(const CacheConfig& config, Centres centres, std::pmr::memory_resource* memory)
    : config_(config),
      memory_(std::make_unique<CountingResource>(memory)),
      centres_k_(memory_.get()),
      centres_v_(memory_.get()),
      rotation_(config.head_dim),
      layers_(memory_.get()) {
  check(config_);
  const std::size_t elements = config_.n_layers * config_.n_kv_heads * config_.head_dim;
  check_centre(centres.k, elements, "keys");
  check_centre(centres.v, elements, "values");
  auto keep = [&](const std::vector<float>& centre, std::pmr::vector<float>& kept) {
    kept = std::pmr::vector<float>(centre.empty() ? config_.head_dim : elements, kept.get_allocator());
    std::copy(centre.begin(), centre.end(), kept.begin());
  };
  keep(centres.k, centres_k_);
  keep(centres.v, centres_v_);
  clear();
}

void Cache::clear() {
  layers_.clear();
  layers_.reserve(config_.n_layers);
  for (std::size_t i = 0; i < config_.n_layers; ++i) layers_.emplace_back(config_, memory_.get());
}

void Cache::copy_tokens(const Cache& other) {
  for (std::size_t i = 0; i < layers_.size(); ++i) layers_[i].copy_tokens(other.layers_[i]);
}

std::size_t Cache::exact_begin(std::size_t position) const {
  if (position < config_.window) return 0;
  return (position - config_.window) / config_.block * config_.block;
}

Side Cache::side(const std::pmr::vector<float>& centres, std::size_t layer, std::size_t head) const {
  const bool shared = centres.size() == config_.head_dim;
  const std::size_t at = shared ? 0 : (layer * config_.n_kv_heads + head) * config_.head_dim;
  return {&rotation_, std::span(centres).subspan(at, config_.head_dim), config_.scales};
}

Side Cache::key_side(std::size_t layer, std::size_t head) const {
  return side(centres_k_, layer, head);
}

Side Cache::value_side(std::size_t layer, std::size_t head) const {
  return side(centres_v_, layer, head);
}

std::size_t Cache::bytes_f16() const {
  return size() * config_.n_layers * config_.n_kv_heads * config_.head_dim * 2 * sizeof(std::uint16_t);
}

double Cache::bits_per_element() const {
  if (size() == 0) return 0;
  return 16.0 * static_cast<double>(bytes()) / static_cast<double>(bytes_f16());
}

std::array<std::uint64_t, kWidthCount> Cache::vectors_at() const {
  std::array<std::uint64_t, kWidthCount> total{};
  std::uint64_t packed = 0;
  auto count = [&](const std::pmr::vector<Segment>& segments) {
    for (const Segment& segment : segments) {
      packed += segment.size();
      for (std::size_t w = 0; w < kWidthCount; ++w) total[w] += segment.counts()[w];
    }
  };
  for (const LayerCache& layer : layers_) {
    for (const PackedHead& head : layer.heads) {
      count(head.k);
      count(head.v);
    }
  }
  const std::uint64_t all = 2 * size() * config_.n_layers * config_.n_kv_heads;
  total[static_cast<std::size_t>(Width::k16)] += all - packed;
  return total;
}

}  // namespace miser::kv
