#include "kv/cache.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "base/divide_up.h"
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

Cache::Cache(const CacheConfig& config, const Centres& centres, std::pmr::memory_resource* memory)
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
  first_kept_ = rope_base_ = sink_offset_ = 0;
  layers_.clear();
  layers_.reserve(config_.n_layers);
  for (std::size_t i = 0; i < config_.n_layers; ++i) layers_.emplace_back(config_, memory_.get());
  if (config_.memory > 0) budget_.emplace(config_, bytes());
  check_shift();
}

void Cache::truncate(std::size_t n) {
  if (n >= size()) return;
  assert(sink_offset_ == 0 || n >= first_kept());
  first_kept_ = std::min(first_kept_, n);
  for (std::size_t i = 0; i < layers_.size(); ++i) truncate(i, n);
}

void Cache::truncate(std::size_t layer, std::size_t n) {
  LayerCache& l = layers_[layer];
  l.truncate_exact(n, std::min(config_.window, kReceivedHorizon));
  const std::size_t n_segments = divide_up(l.staged_begin, Segment::kMaxTokens);
  const auto cut = [&](std::pmr::vector<Segment>& segments, const Side& side) {
    while (segments.size() > n_segments) segments.pop_back();
    if (segments.empty()) return;
    const std::size_t first = std::max((segments.size() - 1) * Segment::kMaxTokens, first_kept());
    segments.back().truncate(l.staged_begin - std::min(l.staged_begin, first), side);
  };
  for (std::size_t g = 0; g < config_.n_kv_heads; ++g) {
    cut(l.heads[g].k, key_side(layer, g));
    cut(l.heads[g].v, value_side(layer, g));
  }
}

void Cache::copy_tokens(const Cache& other) {
  clear();  // all of it, so that old and new tokens do not add up
  for (std::size_t i = 0; i < layers_.size(); ++i) layers_[i].copy_tokens(other.layers_[i]);
  first_kept_ = other.first_kept_;
  rope_base_ = other.rope_base_;
  sink_offset_ = other.sink_offset_;
  budget_ = other.budget_;
}

Side Cache::side(const std::pmr::vector<float>& centres, std::size_t layer, std::size_t head,
                 SideKind kind) const {
  const bool shared = centres.size() == config_.head_dim;
  const std::size_t at = shared ? 0 : (layer * config_.n_kv_heads + head) * config_.head_dim;
  return {&rotation_, std::span(centres).subspan(at, config_.head_dim), config_.scales, kind};
}

/// f(segment) for all segments, in any order.
template <typename F>
void Cache::for_all_segments(F&& f) const {
  for (const LayerCache& layer : layers_) {
    for (const PackedHead& head : layer.heads) {
      for (const Segment& segment : head.k) f(segment);
      for (const Segment& segment : head.v) f(segment);
    }
  }
}

std::size_t Cache::bytes_f16() const {
  return n_held() * config_.n_layers * config_.n_kv_heads * config_.head_dim * 2 * sizeof(std::uint16_t);
}

double Cache::bits_per_element() const {
  if (size() == 0) return 0;
  return 16.0 * static_cast<double>(bytes()) / static_cast<double>(bytes_f16());
}

std::size_t Cache::bytes_shared() const {
  std::size_t sum = 0;
  for_all_segments([&](const Segment& segment) { sum += segment.shared() ? segment.heap_bytes() : 0; });
  return sum;
}

std::array<std::uint64_t, kWidthCount> Cache::vectors_at() const {
  std::array<std::uint64_t, kWidthCount> total{};
  std::uint64_t packed = 0;
  for_all_segments([&](const Segment& segment) {
    packed += segment.size();
    for (std::size_t w = 0; w < kWidthCount; ++w) total[w] += segment.counts()[w];
  });
  const std::uint64_t all = 2 * n_held() * config_.n_layers * config_.n_kv_heads;
  total[static_cast<std::size_t>(Width::k16)] += all - packed;
  return total;
}

}  // namespace miser::kv
