// The part of Cache that goes on when it is full: context shift.
#include <algorithm>
#include <vector>

#include "base/divide_up.h"
#include "base/error.h"
#include "kv/cache.h"
#include "nn/ops.h"
#include "nn/rope.h"

namespace miser::kv {

std::size_t Cache::limit_of_tokens() const {
  return budget_ ? budget_->capacity() : config_.context;
}

/// What a shift keeps must have room for all that may be exact, and one period more where it begins.
void Cache::check_shift() const {
  const std::size_t kept = config_.window + config_.block + decision_period(config_);
  const std::size_t least = config_.sinks + 2 * kept;
  if (!config_.shift || limit_of_tokens() >= least) return;
  fail_usage(
      "context shift: found room for {} tokens, expected at least {} for the sinks and twice {} tokens",
      limit_of_tokens(), least, kept);
}

std::size_t Cache::shift(std::span<const float> rope_frequencies, nn::ThreadPool& pool) {
  const std::size_t n_kept = (limit_of_tokens() - config_.sinks + 1) / 2;  // behind the sinks
  // Whole periods go, so that what is kept lies towards them as a text from the beginning.
  const std::size_t period = decision_period(config_);
  const std::size_t n_gone = std::max(first_kept(), size() - n_kept) - config_.sinks;
  const std::size_t first = config_.sinks + divide_up(n_gone, period) * period;
  drop_before(first, pool);
  turn_sinks(first - config_.sinks - sink_offset_, rope_frequencies);
  sink_offset_ = first - config_.sinks;
  return renumber();
}

/// Turns the keys of the sinks as if their tokens stood `by` positions later. Each turn rounds them to
/// binary16 once more.
void Cache::turn_sinks(std::size_t by, std::span<const float> rope_frequencies) {
  std::vector<float> cos_sin(2 * rope_frequencies.size());
  nn::rope_cos_sin(by, rope_frequencies, cos_sin);
  std::vector<float> rows(config_.sinks * config_.head_dim);
  for (LayerCache& layer : layers_) {
    for (std::size_t g = 0; g < config_.n_kv_heads; ++g) {
      const auto stored =
          std::span(layer.exact_k).subspan(g * layer.exact_capacity * config_.head_dim, rows.size());
      nn::f16_to_f32(stored, rows);
      nn::apply_rope(rows, config_.sinks, config_.head_dim, cos_sin);
      nn::f32_to_f16(rows, stored);
    }
  }
}

/// Takes away the positions of segments that hold nothing any more, so that positions stay bounded.
std::size_t Cache::renumber() {
  const std::size_t n_segments = (first_kept_ - config_.sinks) / Segment::kMaxTokens;
  const std::size_t n = n_segments * Segment::kMaxTokens;
  const auto erase = [&](std::pmr::vector<Segment>& side) {
    side.erase(side.begin(), side.begin() + static_cast<std::ptrdiff_t>(n_segments));
  };
  for (LayerCache& layer : layers_) {
    layer.n_tokens -= n;
    layer.staged_begin -= n;
    for (PackedHead& head : layer.heads) {
      erase(head.k);
      erase(head.v);
    }
  }
  first_kept_ -= n;
  sink_offset_ -= n;
  rope_base_ += n;
  return n;
}

}  // namespace miser::kv
