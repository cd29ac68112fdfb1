#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kv/demotion.h"
#include "kv/layer_cache.h"
#include "kv/width_chooser.h"

namespace miser::kv {

/// First position that the query at `position` reads exactly (sinks aside), unless the cache was truncated.
std::size_t exact_begin(const CacheConfig& config, std::size_t position);

/// Positions between two decisions of a cache with a limit of memory: 32, or a longer block.
std::size_t decision_period(const CacheConfig& config);

/// Arithmetic of a cache that may allocate no more than CacheConfig::memory bytes. Every vector can be
/// demoted to the narrowest width, so how many tokens fit is known before the first one comes.
///
/// Decisions fall at multiples of period() positions alone, so that they do not depend on how a text is cut
/// into chunks. There room is made for all that leaves the window until the next one, were each layer's
/// blocks as large as at the width cap(). limit() keeps them to it.
class Budget {
 public:
  /// `fixed`: bytes that the empty cache has allocated, exact rows included. Throws UsageError that names the
  /// smallest possible budget when it is smaller.
  Budget(const CacheConfig& config, std::size_t fixed);

  const DemotionSteps& steps() const { return steps_; }
  std::size_t period() const { return period_; }
  /// Most tokens that fit.
  std::size_t capacity() const { return capacity_; }
  /// Bytes that are left for packed vectors, and how many more than necessary are released at a time, so that
  /// it is done once in a while and not in every period.
  std::size_t room() const { return config_.memory - fixed_; }
  std::size_t slack() const { return room() / 32; }

  /// Most bytes that are allocated in addition while the queries at [staged_begin, end) come, if blocks leave
  /// with the bytes of `width` at most. `staged_begin` as in LayerCache, `n_segments` as the first head has.
  std::size_t growth(std::size_t staged_begin, std::size_t n_segments, std::size_t end, Width width) const;

  /// The width whose bytes the vectors of a block may take, on the mean, in this period, and without
  /// pressure.
  Width cap() const { return cap_; }
  Width usual_cap() const { return usual_cap_; }
  void set_cap(Width cap) { cap_ = cap; }
  /// Vectors that leave from now on do not get bits that others lost at this price (DemotionPlan).
  void raise_price(float log_price) { log_price_ = std::max(log_price_, log_price); }
  float log_price() const { return log_price_; }
  /// Goes on where another budget of this configuration was.
  void restore(Width cap, float log_price) {
    cap_ = cap;
    log_price_ = log_price;
  }
  /// Narrows the widths that the policy chose for a block: no vector gets bits that older ones of its worth
  /// have lost, and if the whole is too large yet, the cheapest steps of the block are taken.
  void limit(BlockWidths& widths) const;

 private:
  std::size_t n_sides() const { return 2 * config_.n_layers * config_.n_kv_heads; }
  std::size_t first_packed(std::size_t staged_begin) const { return std::max(staged_begin, config_.sinks); }
  std::size_t segments(std::size_t packed_end) const;
  std::size_t segments_held(std::size_t n_tokens) const;
  std::size_t least_bytes(std::size_t n_tokens) const;
  bool fits_period(std::size_t n_tokens) const;
  void check() const;

  CacheConfig config_;
  std::size_t fixed_;
  DemotionSteps steps_;
  std::size_t period_;
  std::size_t capacity_ = 0;
  Width narrowest_ = Width::k1;
  Width usual_cap_ = Width::k1;
  Width cap_ = Width::k1;
  float log_price_ = -std::numeric_limits<float>::infinity();
};

}  // namespace miser::kv
