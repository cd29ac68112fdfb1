#include "kv/layer_cache.h"

#include <algorithm>

#include "kv/width_chooser.h"

namespace miser::kv {

std::size_t first_counted(const CacheConfig& config, std::size_t exact_begin, std::size_t query) {
  const std::size_t horizon = std::min(config.window, kReceivedHorizon);
  return std::max(exact_begin, query > horizon ? query - horizon : 0);
}

void count_received(const CacheConfig& config, std::size_t g, std::size_t head,
                    std::span<const float> weights, float factor, float* noted) {
  const std::size_t group = config.n_heads / config.n_kv_heads;
  for (const float weight : weights) {
    const float a = weight * factor;
    noted[g * group + head] += a;
    noted[config.n_heads + g] += a * a / static_cast<float>(group);
    float& largest = noted[config.n_heads + config.n_kv_heads + g];
    largest = std::max(largest, a);
    noted += received_stride(config);
  }
}

void PackedHead::add_segments(std::size_t n, CountingResource* memory) {
  for (auto* const segments : {&k, &v}) {
    segments->reserve(n);
    while (segments->size() < n) segments->emplace_back(memory);
  }
}

LayerCache::LayerCache(const CacheConfig& config, CountingResource* memory)
    : sinks(config.sinks),
      exact_k(memory),
      exact_v(memory),
      received(memory),
      heads(memory),
      memory_(memory),
      row_elements_(config.n_kv_heads * config.head_dim),
      n_heads_(config.n_heads),
      received_stride_(received_stride(config)),
      max_rows_(config.sinks + std::min(config.window + config.block, config.context)) {
  heads.reserve(config.n_kv_heads);
  for (std::size_t g = 0; g < config.n_kv_heads; ++g) heads.emplace_back(memory);
  if (config.memory > 0) reserve_exact(max_rows_, true);
}

std::size_t LayerCache::exact_row(std::size_t position) const {
  return position < sinks || staged_begin <= sinks ? position : position - staged_begin + sinks;
}

void LayerCache::truncate_exact(std::size_t n, std::size_t horizon) {
  const std::size_t n_maxima_from = n_heads_ + heads.size();
  for (std::size_t i = staged_begin; i < n && !received.empty(); ++i) {
    const std::size_t counted = std::min(horizon, n_tokens - 1 - i);
    const std::size_t left = std::min(horizon, n - 1 - i);
    if (left == counted) continue;
    const float share = static_cast<float>(left) / static_cast<float>(counted);
    const auto noted = std::span(received).subspan(exact_row(i) * received_stride_, received_stride_);
    for (float& sum : noted.first(n_maxima_from)) sum *= share;
    if (left == 0) std::fill(noted.begin(), noted.end(), 0.0F);
  }
  n_tokens = n;
  if (n < staged_begin) staged_begin = n <= sinks ? 0 : n;
}

void LayerCache::copy_tokens(const LayerCache& other) {
  n_tokens = other.n_tokens;
  staged_begin = other.staged_begin;
  exact_capacity = other.exact_capacity;
  exact_k = other.exact_k;
  exact_v = other.exact_v;
  received = other.received;
  auto copy = [&](const std::pmr::vector<Segment>& from, std::pmr::vector<Segment>& to) {
    to.reserve(from.size());
    for (const Segment& segment : from) to.emplace_back(segment, memory_);
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

void LayerCache::grow_exact(std::size_t rows, bool with_received) {
  const std::size_t old_capacity = exact_capacity;
  if (rows <= old_capacity && received.empty() == !with_received) return;
  auto old_k = std::move(exact_k);
  auto old_v = std::move(exact_v);
  auto old_received = std::move(received);
  exact_capacity = 0;
  reserve_exact(std::max(rows, old_capacity), with_received);
  const std::size_t n_old = std::min(exact_rows(), old_capacity);
  const std::size_t head_dim = row_elements_ / heads.size();
  for (std::size_t g = 0; g < heads.size(); ++g) {
    const auto copy = [&](const std::pmr::vector<std::uint16_t>& from, std::pmr::vector<std::uint16_t>& to) {
      std::copy_n(from.begin() + g * old_capacity * head_dim, n_old * head_dim,
                  to.begin() + g * exact_capacity * head_dim);
    };
    copy(old_k, exact_k);
    copy(old_v, exact_v);
  }
  std::copy_n(old_received.begin(), std::min(old_received.size(), received.size()), received.begin());
}

void LayerCache::drop_packed_rows(std::size_t from) {
  const std::size_t first = std::max(from, sinks);
  if (staged_begin <= first) return;
  const std::size_t head_dim = row_elements_ / heads.size();
  const std::size_t n_dropped = staged_begin - first;  // rows from `sinks` on
  const std::size_t n_staged = n_tokens - staged_begin;
  const auto close_gap = [&](auto& rows, std::size_t begin, std::size_t size) {
    const auto to = rows.begin() + (begin + sinks) * size;
    std::copy_n(to + n_dropped * size, n_staged * size, to);
  };
  for (std::size_t g = 0; g < heads.size(); ++g) {
    close_gap(exact_k, g * exact_capacity, head_dim);
    close_gap(exact_v, g * exact_capacity, head_dim);
  }
  if (!received.empty()) close_gap(received, 0, received_stride_);
}

}  // namespace miser::kv
