#include "kv/attention_split.h"

#include <algorithm>
#include <cmath>

#include "base/divide_up.h"
#include "kv/half_rows.h"
#include "kv/segment_layout.h"

namespace miser::kv {
namespace {

/// Most parts of a head besides its exact rows: few heads then keep many threads busy, and merging them costs
/// little.
constexpr std::size_t kMaxParts = 16;

bool is_half(const Segment& segment) {
  return segment.counts()[static_cast<std::size_t>(Width::k16)] == segment.size();
}

/// Those of a segment of 16-bit vectors alone.
HalfRows half_rows(const Segment& segment, std::size_t head_dim) {
  const SegmentLayout layout(segment.size(), segment.counts(), head_dim);
  return {segment.bytes().data() + layout.payloads[static_cast<std::size_t>(Width::k16)], segment.size(),
          head_dim};
}

}  // namespace

SplitAttention::SplitAttention(Cache& cache, nn::ThreadPool& pool)
    : cache_(cache),
      pool_(pool),
      head_dim_(cache.config().head_dim),
      group_(cache.config().n_heads / cache.config().n_kv_heads),
      heads_(cache.config().n_kv_heads),
      workers_(static_cast<std::size_t>(pool.size())) {}

void SplitAttention::attend(const FewQueries& queries) {
  queries_ = queries;
  const std::size_t n_segments = layer().heads.front().k.size();
  segments_per_part_ = std::max<std::size_t>(1, divide_up(n_segments, kMaxParts));
  const std::size_t n_parts = 1 + divide_up(n_segments, segments_per_part_);
  for (std::size_t g = 0; g < heads_.size(); ++g) {
    heads_[g].parts.resize(std::max(heads_[g].parts.size(), n_parts));
    heads_[g].pending = n_parts;
    prepare(g);
  }
  const auto attend_part = [&](std::size_t item, int worker) {
    const std::size_t g = item % heads_.size();
    const std::size_t part = item / heads_.size();
    if (part == 0) {
      attend_exact(g);
    } else {
      attend_segments(g, part, workers_[static_cast<std::size_t>(worker)]);
    }
    if (--heads_[g].pending == 0) finish(g);
  };
  if (n_segments == 0) {  // a window is less work than waking a thread
    for (std::size_t g = 0; g < heads_.size(); ++g) attend_part(g, 0);
  } else {
    pool_.parallel_for(n_parts * heads_.size(), attend_part);
  }
  if (queries_.variance == nullptr) return;
  for (std::size_t i = 0; i < queries_.n; ++i) {
    queries_.variance[i] = 0;
    for (const Head& head : heads_) queries_.variance[i] += head.variance[i];
  }
}

void SplitAttention::prepare(std::size_t g) {
  const auto& keys = layer().heads[g].k;
  const std::size_t row_floats = group_ * head_dim_;
  const bool any_packed = !std::all_of(keys.begin(), keys.end(), is_half);
  heads_[g].queries.fill(queries_.q + g * row_floats, queries_.n, group_, heads_.size() * row_floats,
                         cache_.rotation(), cache_.key_side(queries_.layer, g).centre, any_packed);
  if (any_packed) heads_[g].packed.prepare(heads_[g].queries.rows(), head_dim_);
}

void SplitAttention::attend_exact(std::size_t g) {
  Head& head = heads_[g];
  OnlineSoftmax& state = head.parts[0];
  state.reset(query_rows(), head_dim_, queries_.variance != nullptr);
  const std::size_t n_keys = layer().exact_row(queries_.first_position + queries_.n);
  const std::size_t from = g * layer().exact_capacity * head_dim_;
  const auto exact = [&](const std::pmr::vector<std::uint16_t>& stored) {
    return HalfRows{std::as_bytes(std::span(stored)).data() + from * sizeof(std::uint16_t), n_keys,
                    head_dim_};
  };
  head.weights.resize(query_rows() * n_keys);
  head.exact_max.resize(query_rows());
  float* const weights = head.weights.data();
  score_half_rows(head.queries.rows().plain, query_rows(), exact(layer().exact_k), weights, n_keys);
  for (std::size_t i = 0; i < query_rows(); ++i) {
    // Rows lie in order of position, so what a query sees of them is a prefix.
    const std::size_t visible = layer().exact_row(queries_.first_position + i / group_) + 1;
    state.fold(i, {weights + i * n_keys, visible});
    std::fill(weights + i * n_keys + visible, weights + (i + 1) * n_keys, 0.0F);
    head.exact_max[i] = state.max(i);
  }
  add_half_rows(weights, n_keys, query_rows(), exact(layer().exact_v), state.plain_sums(0));
}

void SplitAttention::attend_segments(std::size_t g, std::size_t part, Worker& worker) {
  OnlineSoftmax& state = heads_[g].parts[part];
  state.reset(query_rows(), head_dim_, queries_.variance != nullptr);
  const std::size_t first = (part - 1) * segments_per_part_;
  const std::size_t last = std::min(first + segments_per_part_, layer().heads[g].k.size());
  for (std::size_t s = first; s < last; ++s) {
    if (layer().heads[g].k[s].size() == 0) continue;
    // Items are handed out in order, so this is the one that the thread most likely does next.
    const std::size_t next_item = part * heads_.size() + g + workers_.size();
    const auto next = s + 1 < last ? layer().heads[g].k[s + 1].bytes() : first_keys(next_item);
    attend_segment(g, s, next, state, worker);
  }
}

/// The keys that an item reads first, if there is such an item.
std::span<const std::byte> SplitAttention::first_keys(std::size_t item) {
  const auto& keys = layer().heads[item % heads_.size()].k;
  const std::size_t segment = (item / heads_.size() - 1) * segments_per_part_;
  return segment < keys.size() ? keys[segment].bytes() : std::span<const std::byte>();
}

void SplitAttention::attend_segment(std::size_t g, std::size_t index, std::span<const std::byte> next_keys,
                                    OnlineSoftmax& state, Worker& worker) {
  const Segment& keys = layer().heads[g].k[index];
  const Segment& values = layer().heads[g].v[index];
  const QueryRows q = heads_[g].queries.rows();
  const std::size_t n_keys = keys.size();
  const std::size_t ld = padded_tokens(n_keys);
  worker.scores.resize(q.n * padded_tokens(Segment::kMaxTokens));
  float* const scores = worker.scores.data();
  if (is_half(keys)) {
    score_half_rows(q.plain, q.n, half_rows(keys, head_dim_), scores, ld);
  } else {
    key_scores(keys, cache_.key_side(queries_.layer, g), heads_[g].packed, scores, ld, worker.packed,
               values.bytes());
  }
  for (std::size_t i = 0; i < q.n; ++i) state.fold(i, {scores + i * ld, n_keys});
  if (is_half(values)) {
    add_half_rows(scores, ld, q.n, half_rows(values, head_dim_), state.plain_sums(0));
  } else {
    const ValueSums sums{state.plain_sums(0), state.rotated_sums(0), state.centred_sums(0)};
    add_values(values, cache_.value_side(queries_.layer, g), scores, ld, q.n, sums, worker.packed, next_keys);
  }
}

void SplitAttention::finish(std::size_t g) {
  Head& head = heads_[g];
  const std::size_t n_segments = layer().heads[g].k.size();
  OnlineSoftmax& state = head.parts[0];
  for (std::size_t part = 1; part <= divide_up(n_segments, segments_per_part_); ++part) {
    state.merge(head.parts[part]);
  }
  const auto centre = cache_.value_side(queries_.layer, g).centre;
  const std::size_t row_floats = group_ * head_dim_;
  for (std::size_t i = 0; i < queries_.n; ++i) {
    float* const out = queries_.out + (i * heads_.size() + g) * row_floats;
    state.finish(i * group_, group_, cache_.rotation(), centre, {out, row_floats});
  }
  if (queries_.track_received) note_received(g);
  if (queries_.variance == nullptr) return;
  head.variance.assign(queries_.n, 0.0F);
  for (std::size_t i = 0; i < query_rows(); ++i) {
    const std::size_t n_keys = queries_.first_position + i / group_ + 1;
    head.variance[i / group_] += state.variance(i, n_keys) / static_cast<float>(cache_.config().n_heads);
  }
}

void SplitAttention::note_received(std::size_t g) {
  const CacheConfig& config = cache_.config();
  const Head& head = heads_[g];
  const std::size_t n_keys = layer().exact_row(queries_.first_position + queries_.n);
  for (std::size_t i = 0; i < query_rows(); ++i) {
    const std::size_t query = queries_.first_position + i / group_;
    const std::size_t oldest = first_counted(config, layer().staged_begin, query);
    const std::size_t row = layer().exact_row(oldest);
    const float factor = std::exp(head.exact_max[i] - head.parts[0].max(i)) / head.parts[0].sum(i);
    count_received(config, g, i % group_, {head.weights.data() + i * n_keys + row, query - oldest}, factor,
                   layer().received.data() + row * received_stride(config));
  }
}

}  // namespace miser::kv
