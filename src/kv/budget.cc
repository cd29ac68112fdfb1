#include "kv/budget.h"

#include <algorithm>

#include "base/error.h"
#include "kv/cache_snapshot.h"
#include "kv/segment_layout.h"

namespace miser::kv {
namespace {

constexpr std::size_t kPeriod = 32;  // positions, and at least a block

/// Most that `n` consecutive vectors in so many segments take beside what each is stored in.
constexpr std::size_t tag_bytes(std::size_t n, std::size_t n_segments) {
  return kTagBits * (n / 8 + n_segments) + n_segments * SharedBytes::kHeaderBytes;
}

}  // namespace

std::size_t exact_begin(const CacheConfig& config, std::size_t position) {
  if (position < config.window) return 0;
  return (position - config.window) / config.block * config.block;
}

std::size_t decision_period(const CacheConfig& config) {
  return std::max(kPeriod, config.block);
}

Budget::Budget(const CacheConfig& config, std::size_t fixed)
    : config_(config), fixed_(fixed), steps_(config.head_dim), period_(decision_period(config)) {
  check();
  while (capacity_ < config_.context && fits_period(capacity_)) capacity_ += period_;
  if (config_.drop_oldest) capacity_ = config_.context;
  capacity_ = std::min(capacity_, config_.context);
  // A period at the cap takes at most an eighth of the room, unless even the narrowest width does.
  for (const Width width : kAllWidths) {
    const std::size_t bytes = n_sides() * period_ * steps_.stored_bytes(width);
    if (width <= config_.widest && (width == Width::k1 || 8 * bytes <= room())) usual_cap_ = width;
  }
  cap_ = usual_cap_;
}

// The first period must fit. With drop_oldest all packed vectors may go, but not the headers of their
// segments.
void Budget::check() const {
  std::size_t least = fixed_ + growth(0, 0, period_, narrowest_);
  if (config_.drop_oldest) {
    const std::size_t n_headers = (n_sides() + 1) * segments_held(config_.context);
    const std::size_t of_side = period_ * steps_.stored_bytes(narrowest_) + tag_bytes(period_, 2);
    least = fixed_ + n_headers * sizeof(Segment) + n_sides() * of_side;
  }
  if (config_.memory >= least) return;
  fail_usage(
      "KV memory: found {} bytes, expected at least {} ({:.2f} MiB) for sinks, exact window and centres",
      config_.memory, least, static_cast<double>(least) / (1024 * 1024));
}

void Budget::limit(BlockWidths& widths) const {
  const auto for_each = [&](auto&& change) {
    for (std::size_t i = 0; i < widths.k.size(); ++i) change(widths.k[i], widths.k_rating[i]);
    for (std::size_t i = 0; i < widths.v.size(); ++i) change(widths.v[i], widths.v_rating[i]);
  };
  DemotionPlan plan(steps_);
  std::size_t bytes = 0;
  for_each([&](Width& width, std::uint8_t rating) {
    width = steps_.at_price(width, rating, log_price_);
    plan.count(width, rating);
    bytes += steps_.stored_bytes(width);
  });
  const std::size_t allowed = 2 * widths.k.size() * steps_.stored_bytes(cap_);
  if (bytes <= allowed) return;
  plan.solve(bytes - allowed);
  for_each([&](Width& width, std::uint8_t rating) { width = plan.take(width, rating); });
}

std::size_t Budget::segments(std::size_t packed_end) const {
  return segment_count(config_, packed_end);
}

/// Most segments that so many tokens lie in: after a shift the first one may hold less.
std::size_t Budget::segments_held(std::size_t n_tokens) const {
  return segments(n_tokens) + (config_.shift ? 1 : 0);
}

std::size_t Budget::growth(std::size_t staged_begin, std::size_t n_segments, std::size_t end,
                           Width width) const {
  const std::size_t from = first_packed(staged_begin);
  const std::size_t until = exact_begin(config_, end - 1);
  if (until <= from) return 0;
  const std::size_t touched = (until - 1) / Segment::kMaxTokens - from / Segment::kMaxTokens + 1;
  const std::size_t n = until - from;
  const std::size_t n_new = segments(until) - std::min(segments(until), n_segments);
  const std::size_t of_side =
      n * steps_.stored_bytes(width) + tag_bytes(n, touched) + n_new * sizeof(Segment);
  // While an array of headers grows, the old one is still there.
  return n_sides() * of_side + segments(until) * sizeof(Segment);
}

/// Of the cache that has seen so many tokens, when all packed vectors are at the narrowest width.
std::size_t Budget::least_bytes(std::size_t n_tokens) const {
  const std::size_t end = n_tokens == 0 ? 0 : exact_begin(config_, n_tokens - 1);
  const std::size_t n = end - std::min(end, config_.sinks);
  const std::size_t of_side = n * steps_.stored_bytes(narrowest_) + tag_bytes(n, segments_held(end)) +
                              segments_held(end) * sizeof(Segment);
  return fixed_ + n_sides() * of_side;
}

bool Budget::fits_period(std::size_t n_tokens) const {
  const std::size_t staged_begin = n_tokens == 0 ? 0 : exact_begin(config_, n_tokens - 1);
  const std::size_t more = growth(staged_begin, segments(staged_begin), n_tokens + period_, narrowest_);
  return least_bytes(n_tokens) + more <= config_.memory;
}

}  // namespace miser::kv
