#include "kv/online_softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "nn/gemm.h"
#include "nn/ops.h"
#include "nn/row_kernels.h"

namespace miser::kv {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();

/// to[i] += factor * from[i] for n elements from `first` on.
void add_scaled(std::vector<float>& to, const std::vector<float>& from, float factor, std::size_t first,
                std::size_t n) {
  for (std::size_t i = first; i < first + n; ++i) to[i] += factor * from[i];
}

}  // namespace

void QueryBuffer::fill(const float* q, std::size_t n, std::size_t group, std::size_t q_dim,
                       const Rotation& rotation, std::span<const float> key_centre, bool rotate) {
  const std::size_t head_dim = key_centre.size();
  const std::size_t n_rows = n * group;
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  plain_.resize(n_rows * head_dim);
  rotated_.resize(plain_.size());
  norm2_.resize(n_rows);
  centre_dot_.resize(n_rows);
  for (std::size_t i = 0; i < n; ++i) {
    std::transform(q + i * q_dim, q + i * q_dim + group * head_dim, plain_.begin() + i * group * head_dim,
                   [&](float x) { return x * scale; });
  }
  if (!rotate) return;
  std::copy(plain_.begin(), plain_.end(), rotated_.begin());
  rotation.apply(rotated_);
  for (std::size_t i = 0; i < n_rows; ++i) {
    const float* const row = plain_.data() + i * head_dim;
    norm2_[i] = nn::dot(row, row, head_dim);
    centre_dot_[i] = nn::dot(row, key_centre.data(), head_dim);
  }
}

void score_tile(const QueryRows& q, const Tile& keys, std::size_t head_dim, float* scores) {
  const float* rows = keys.rotated ? q.rotated : q.plain;
  const std::size_t n_keys = keys.n_tokens;
  nn::gemm_nt(q.n, n_keys, head_dim, 1.0F, rows, head_dim, keys.rows.data(), head_dim, 0.0F, scores, n_keys);
  if (!keys.rotated) return;
  for (std::size_t i = 0; i < q.n; ++i) {
    float* row = scores + i * n_keys;
    const float shift = q.centre_dot[i];
    const float norm2 = q.norm2[i];
    for (std::size_t t = 0; t < n_keys; ++t) row[t] += shift - norm2 * keys.correction[t];
  }
}

void OnlineSoftmax::reset(std::size_t rows, std::size_t head_dim, bool track_squares) {
  head_dim_ = head_dim;
  track_squares_ = track_squares;
  any_rotated_ = false;
  max_.assign(rows, kNothing);
  sum_.assign(rows, 0.0F);
  sum_squares_.assign(rows, 0.0F);
  centred_.assign(rows, 0.0F);
  plain_.assign(rows * head_dim, 0.0F);
  rotated_.assign(rows * head_dim, 0.0F);
}

void OnlineSoftmax::rescale(std::size_t row, float new_max) {
  const float factor = max_[row] == kNothing ? 0.0F : std::exp(max_[row] - new_max);
  max_[row] = new_max;
  if (factor == 1.0F) return;
  sum_[row] *= factor;
  sum_squares_[row] *= factor * factor;
  centred_[row] *= factor;
  nn::scale(std::span(plain_).subspan(row * head_dim_, head_dim_), factor);
  if (any_rotated_) nn::scale(std::span(rotated_).subspan(row * head_dim_, head_dim_), factor);
}

float OnlineSoftmax::fold(std::size_t row, std::span<float> scores) {
  const float new_max = std::max(max_[row], nn::max_of(scores));
  rescale(row, new_max);
  float squares = 0;
  const float weight = nn::exp_shifted(scores, new_max, track_squares_ ? &squares : nullptr);
  sum_[row] += weight;
  sum_squares_[row] += squares;
  return weight;
}

void OnlineSoftmax::add_plain(std::size_t first, std::size_t n, const float* weights, std::size_t ld,
                              const float* values, std::size_t n_keys) {
  nn::gemm_nn(n, head_dim_, n_keys, 1.0F, weights, ld, values, head_dim_, 1.0F,
              plain_.data() + first * head_dim_, head_dim_);
}

void OnlineSoftmax::attend(const QueryRows& q, std::size_t first, const Tile& keys, const Tile& values,
                           std::vector<float>& scores) {
  const std::size_t n_keys = keys.n_tokens;
  scores.resize(std::max(scores.size(), q.n * n_keys));
  score_tile(q, keys, head_dim_, scores.data());
  for (std::size_t i = 0; i < q.n; ++i) {
    const float weight = fold(first + i, std::span(scores).subspan(i * n_keys, n_keys));
    if (values.rotated) centred_[first + i] += weight;
  }
  if (!values.rotated) {
    add_plain(first, q.n, scores.data(), n_keys, values.rows.data(), n_keys);
    return;
  }
  nn::gemm_nn(q.n, head_dim_, n_keys, 1.0F, scores.data(), n_keys, values.rows.data(), head_dim_, 1.0F,
              rotated_sums(first), head_dim_);
}

// E[a^2] - E[a]^2; the mean of n_keys weights is 1 / n_keys.
float OnlineSoftmax::variance(std::size_t row, std::size_t n_keys) const {
  const float n = static_cast<float>(n_keys);
  return sum_squares_[row] / (sum_[row] * sum_[row]) / n - 1.0F / (n * n);
}

void OnlineSoftmax::merge(const OnlineSoftmax& other) {
  any_rotated_ = any_rotated_ || other.any_rotated_;
  for (std::size_t row = 0; row < max_.size(); ++row) {
    if (other.max_[row] == kNothing) continue;
    rescale(row, std::max(max_[row], other.max_[row]));
    const float factor = std::exp(other.max_[row] - max_[row]);
    sum_[row] += factor * other.sum_[row];
    sum_squares_[row] += factor * factor * other.sum_squares_[row];
    centred_[row] += factor * other.centred_[row];
    add_scaled(plain_, other.plain_, factor, row * head_dim_, head_dim_);
    if (other.any_rotated_) add_scaled(rotated_, other.rotated_, factor, row * head_dim_, head_dim_);
  }
}

void OnlineSoftmax::finish(std::size_t first, std::size_t n, const Rotation& rotation,
                           std::span<const float> value_centre, std::span<float> out) {
  const auto rotated = std::span(rotated_).subspan(first * head_dim_, n * head_dim_);
  if (any_rotated_) rotation.invert(rotated);
  for (std::size_t i = 0; i < n; ++i) {
    const float inverse = 1.0F / sum_[first + i];
    const float centre_weight = centred_[first + i] * inverse;
    const float* plain = plain_.data() + (first + i) * head_dim_;
    const float* unrotated = rotated.data() + i * head_dim_;
    float* row = out.data() + i * head_dim_;
    for (std::size_t d = 0; d < head_dim_; ++d) {
      row[d] = (plain[d] + unrotated[d]) * inverse + centre_weight * value_centre[d];
    }
  }
}

}  // namespace miser::kv
