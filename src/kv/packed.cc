#include "kv/packed.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kv/online_softmax.h"

namespace miser::kv {

void PackedQueries::prepare(const QueryRows& rows, std::size_t head_dim) {
  assert(rows.n >= 1 && rows.n <= kMaxPackedRows);
  n_ = rows.n;
  head_dim_ = head_dim;
  plain_ = rows.plain;
  norm2_ = rows.norm2;
  centre_dot_ = rows.centre_dot;
  levels_.resize(n_ * head_dim);
  scale_.resize(n_);
  level_sum_.resize(n_);
  for (std::size_t r = 0; r < n_; ++r) {
    const float* row = rows.rotated + r * head_dim;
    float largest = 0;
    for (std::size_t d = 0; d < head_dim; ++d) largest = std::max(largest, std::abs(row[d]));
    scale_[r] = largest / 127;
    const float inverse = largest > 0 ? 127 / largest : 0;
    level_sum_[r] = 0;
    for (std::size_t d = 0; d < head_dim; ++d) {
      const auto level = static_cast<std::int8_t>(std::lrint(row[d] * inverse));
      levels_[r * head_dim + d] = level;
      level_sum_[r] += level;
    }
  }
}

namespace {

/// The vectors of a segment as floats, those of 16 bits neither centred nor rotated.
template <typename F>
void for_each_vector(const Segment& segment, const Side& side, PackedScratch& scratch, F&& f) {
  const std::size_t head_dim = side.rotation->head_dim();
  scratch.floats.resize(head_dim);
  for (std::size_t t = 0; t < segment.size(); ++t) {
    const float correction = segment.read(t, side, scratch.floats);
    f(t, segment.width(t) == Width::k16, correction);
  }
}

}  // namespace

void key_scores(const Segment& keys, const Side& side, const PackedQueries& q, float* scores, std::size_t ld,
                PackedScratch& scratch) {
  assert(ld >= padded_tokens(keys.size()));
  const std::size_t head_dim = side.rotation->head_dim();
  for_each_vector(keys, side, scratch, [&](std::size_t t, bool exact, float correction) {
    for (std::size_t r = 0; r < q.size(); ++r) {
      float dot = 0;
      for (std::size_t d = 0; d < head_dim; ++d) {
        dot += scratch.floats[d] * (exact ? q.plain(r)[d] : static_cast<float>(q.levels(r)[d]));
      }
      scores[r * ld + t] = exact ? dot : dot * q.scale(r) + q.centre_dot(r) - correction * q.norm2(r);
    }
  });
}

void add_values(const Segment& values, const Side& side, const float* weights, std::size_t ld,
                std::size_t n_rows, const ValueSums& sums, PackedScratch& scratch) {
  assert(n_rows <= kMaxPackedRows && ld >= padded_tokens(values.size()));
  const std::size_t head_dim = side.rotation->head_dim();
  for_each_vector(values, side, scratch, [&](std::size_t t, bool exact, float) {
    for (std::size_t r = 0; r < n_rows; ++r) {
      const float weight = weights[r * ld + t];
      float* sum = (exact ? sums.plain : sums.rotated) + r * head_dim;
      for (std::size_t d = 0; d < head_dim; ++d) sum[d] += weight * scratch.floats[d];
      if (!exact) sums.centred[r] += weight;
    }
  });
}

}  // namespace miser::kv
