#include "learn/attention_gradient.h"

#include <algorithm>
#include <cmath>

#include "base/divide_up.h"
#include "nn/gemm.h"
#include "nn/ops.h"

namespace miser::learn {
namespace {

constexpr std::size_t kQueries = 64;  ///< of a block
constexpr std::size_t kKeys = 512;    ///< of a tile
constexpr std::size_t kItems = 6;     ///< at least so many shares of the work: few threads stay busy

/// out [cols, rows] = x [rows, cols] transposed.
void transpose(const float* x, std::size_t rows, std::size_t cols, float* out) {
  for (std::size_t c = 0; c < cols; ++c) {
    for (std::size_t r = 0; r < rows; ++r) out[c * rows + r] = x[r * cols + c];
  }
}

}  // namespace

AttentionGradient::AttentionGradient(const ModelConfig& config, PositionRule rule, std::size_t n_samples)
    : head_dim_(config.head_dim),
      n_kv_heads_(config.n_kv_heads),
      group_(config.group()),
      n_samples_(n_samples),
      n_ranges_(divide_up(kItems, config.n_kv_heads)),
      rule_(rule),
      items_(n_kv_heads_ * n_ranges_) {}

void AttentionGradient::Sums::reset(std::size_t n_rows, std::size_t first_key, std::size_t end_key) {
  first = first_key;
  columns = end_key - first_key;
  k.assign(n_rows * columns, 0.0F);
  v.assign(n_rows * columns, 0.0F);
}

/// Ranges of equal area under the diagonal, whole blocks each.
std::size_t AttentionGradient::range_begin(std::size_t range) const {
  if (range == n_ranges_) return rows_.n;
  const double share = std::sqrt(static_cast<double>(range) / static_cast<double>(n_ranges_));
  return static_cast<std::size_t>(share * static_cast<double>(rows_.n)) / kQueries * kQueries;
}

void AttentionGradient::run(const AttentionRows& rows, nn::ThreadPool& pool) {
  rows_ = rows;
  workers_.resize(static_cast<std::size_t>(pool.size()));
  pool.parallel_for(items_.size(), [&](std::size_t index, int worker) {
    const std::size_t g = index % n_kv_heads_;
    const std::size_t begin = range_begin(index / n_kv_heads_);
    const std::size_t end = range_begin(index / n_kv_heads_ + 1);
    Item& item = items_[index];
    const std::size_t packed_end = end == begin ? 0 : rule_.exact_begin(end - 1);
    item.packed.reset(n_samples_ * head_dim_, 0, packed_end);
    item.exact.reset(n_samples_ * head_dim_, std::min(end, rule_.exact_begin(begin)), end);
    for (std::size_t at = begin; at < end; at += kQueries) {
      run_block({g, at, std::min(at + kQueries, end)}, item, workers_[static_cast<std::size_t>(worker)]);
    }
  });
}

void AttentionGradient::run_block(Block block, Item& item, Worker& w) const {
  gather(block, w);
  find_probabilities(block, w);
  w.d_q.assign(n_samples_ * n_rows(block) * head_dim_, 0.0F);
  const std::size_t band_begin = rule_.exact_begin(block.begin);
  for (std::size_t at = 0; at < band_begin; at += kKeys) {
    const Tile tile{at, std::min(at + kKeys, band_begin)};
    find_score_gradients(block, tile, w);
    add_packed(block, tile, item, w);
  }
  const Tile band{band_begin, block.end};
  find_score_gradients(block, band, w);
  add_band(block, band, item, w);
  write_d_q(block, w);
}

void AttentionGradient::gather(Block block, Worker& w) const {
  const std::size_t rows = n_rows(block);
  const std::size_t row_floats = group_ * head_dim_;
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim_));
  w.q.resize(rows * head_dim_);
  w.q_transposed.resize(rows * head_dim_);
  w.d_out.resize(n_samples_ * rows * head_dim_);
  w.d_transposed.resize(n_samples_ * rows * head_dim_);
  w.along.resize(n_samples_ * rows);
  for (std::size_t t = block.begin; t < block.end; ++t) {
    const std::size_t to = (t - block.begin) * row_floats;
    const std::size_t from = (t * n_kv_heads_ + block.g) * row_floats;
    for (std::size_t i = 0; i < row_floats; ++i) w.q[to + i] = rows_.q[from + i] * scale;
    for (std::size_t s = 0; s < n_samples_; ++s) {
      const float* d_out = rows_.d_out + ((t * n_samples_ + s) * n_kv_heads_ + block.g) * row_floats;
      std::copy_n(d_out, row_floats, w.d_out.begin() + s * rows * head_dim_ + to);
      for (std::size_t h = 0; h < group_; ++h) {
        float sum = 0;
        for (std::size_t d = h * head_dim_; d < (h + 1) * head_dim_; ++d)
          sum += d_out[d] * rows_.out[from + d];
        w.along[s * rows + (t - block.begin) * group_ + h] = sum;
      }
    }
  }
  transpose(w.q.data(), rows, head_dim_, w.q_transposed.data());
  for (std::size_t s = 0; s < n_samples_; ++s) {
    const std::size_t at = s * rows * head_dim_;
    transpose(w.d_out.data() + at, rows, head_dim_, w.d_transposed.data() + at);
  }
}

void AttentionGradient::find_probabilities(Block block, Worker& w) const {
  const std::size_t rows = n_rows(block);
  w.p.resize(rows * block.end);
  nn::gemm_nt(rows, block.end, head_dim_, 1.0F, w.q.data(), head_dim_,
              rows_.k + block.g * rows_.n * head_dim_, head_dim_, 0.0F, w.p.data(), block.end);
  for (std::size_t r = 0; r < rows; ++r) {
    const auto row = std::span(w.p).subspan(r * block.end, block.end);
    const auto seen = row.first(block.begin + r / group_ + 1);
    nn::scale(seen, 1.0F / nn::exp_shifted(seen, nn::max_of(seen)));
    std::fill(row.begin() + static_cast<std::ptrdiff_t>(seen.size()), row.end(), 0.0F);
  }
}

/// d_scores and d_q of the keys of a tile.
void AttentionGradient::find_score_gradients(Block block, Tile tile, Worker& w) const {
  const std::size_t rows = n_rows(block);
  const std::size_t from = (block.g * rows_.n + tile.begin) * head_dim_;
  w.d_scores.resize(n_samples_ * rows * tile.size());
  nn::gemm_nt(n_samples_ * rows, tile.size(), head_dim_, 1.0F, w.d_out.data(), head_dim_, rows_.v + from,
              head_dim_, 0.0F, w.d_scores.data(), tile.size());
  for (std::size_t i = 0; i < n_samples_ * rows; ++i) {
    float* const d = w.d_scores.data() + i * tile.size();
    const float* const p = w.p.data() + i % rows * block.end + tile.begin;
    const float along = w.along[i];
    for (std::size_t j = 0; j < tile.size(); ++j) d[j] = p[j] * (d[j] - along);
  }
  nn::gemm_nn(n_samples_ * rows, head_dim_, tile.size(), 1.0F, w.d_scores.data(), tile.size(), rows_.k + from,
              head_dim_, 1.0F, w.d_q.data(), head_dim_);
}

/// A tile that all queries of the block read packed.
void AttentionGradient::add_packed(Block block, Tile tile, Item& item, Worker& w) const {
  add_to(item.packed, block, tile, w.p.data() + tile.begin, block.end, w.d_scores.data(), w);
}

/// The keys from the first that some query of the block reads exactly: those that a query reads packed go to
/// one sum, the others to the other.
void AttentionGradient::add_band(Block block, Tile tile, Item& item, Worker& w) const {
  const std::size_t rows = n_rows(block);
  const Tile mixed{tile.begin, rule_.exact_begin(block.end - 1)};
  const auto split = [&](float* x, std::size_t ld, bool packed) {  // zeroes what is not of the kind
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t exact = rule_.exact_begin(block.begin + r / group_) - tile.begin;
      std::fill(x + r * ld + (packed ? exact : 0), x + r * ld + (packed ? mixed.size() : exact), 0.0F);
    }
  };
  if (mixed.size() > 0) {
    std::vector<float> p(rows * mixed.size());
    w.part.resize(n_samples_ * rows * mixed.size());
    for (std::size_t i = 0; i < n_samples_ * rows; ++i)
      std::copy_n(w.d_scores.begin() + i * tile.size(), mixed.size(), w.part.begin() + i * mixed.size());
    for (std::size_t r = 0; r < rows; ++r)
      std::copy_n(w.p.begin() + r * block.end + tile.begin, mixed.size(), p.begin() + r * mixed.size());
    split(p.data(), mixed.size(), true);
    for (std::size_t s = 0; s < n_samples_; ++s)
      split(w.part.data() + s * rows * mixed.size(), mixed.size(), true);
    add_to(item.packed, block, mixed, p.data(), mixed.size(), w.part.data(), w);
  }
  split(w.p.data() + tile.begin, block.end, false);
  for (std::size_t s = 0; s < n_samples_; ++s)
    split(w.d_scores.data() + s * rows * tile.size(), tile.size(), false);
  add_to(item.exact, block, tile, w.p.data() + tile.begin, block.end, w.d_scores.data(), w);
}

/// sums += the block's share of dk and dv, from probabilities p [rows, tile] and d_scores [S, rows, tile].
void AttentionGradient::add_to(Sums& sums, Block block, Tile tile, const float* p, std::size_t ldp,
                               const float* d_scores, const Worker& w) const {
  const std::size_t rows = n_rows(block);
  const std::size_t at = tile.begin - sums.first;
  nn::gemm_nn(n_samples_ * head_dim_, tile.size(), rows, 1.0F, w.d_transposed.data(), rows, p, ldp, 1.0F,
              sums.v.data() + at, sums.columns);
  for (std::size_t s = 0; s < n_samples_; ++s) {
    nn::gemm_nn(head_dim_, tile.size(), rows, 1.0F, w.q_transposed.data(), rows,
                d_scores + s * rows * tile.size(), tile.size(), 1.0F,
                sums.k.data() + s * head_dim_ * sums.columns + at, sums.columns);
  }
}

void AttentionGradient::write_d_q(Block block, const Worker& w) const {
  const std::size_t row_floats = group_ * head_dim_;
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim_));
  for (std::size_t t = block.begin; t < block.end; ++t) {
    for (std::size_t s = 0; s < n_samples_; ++s) {
      const float* from = w.d_q.data() + s * n_rows(block) * head_dim_ + (t - block.begin) * row_floats;
      std::transform(from, from + row_floats,
                     rows_.d_out + ((t * n_samples_ + s) * n_kv_heads_ + block.g) * row_floats,
                     [&](float x) { return x * scale; });
    }
  }
}

void AttentionGradient::Sums::add_tokens(std::size_t first_token, std::size_t n,
                                         std::vector<float>& out) const {
  const std::size_t begin = std::max(first_token, first);
  const std::size_t end = std::min(first_token + n, first + columns);
  if (begin >= end) return;
  const auto add = [&](const std::vector<float>& sums, float* to) {
    for (std::size_t row = 0; row < sums.size() / columns; ++row) {
      for (std::size_t t = begin; t < end; ++t)
        to[row * n + t - first_token] += sums[row * columns + t - first];
    }
  };
  add(k, out.data());
  add(v, out.data() + out.size() / 2);
}

void AttentionGradient::read(std::size_t kv_head, std::size_t first, std::size_t n,
                             TokenGradients& out) const {
  out.packed.assign(2 * n_samples_ * head_dim_ * n, 0.0F);
  for (std::size_t range = 0; range < n_ranges_; ++range)
    items_[range * n_kv_heads_ + kv_head].packed.add_tokens(first, n, out.packed);
  out.all = out.packed;
  for (std::size_t range = 0; range < n_ranges_; ++range)
    items_[range * n_kv_heads_ + kv_head].exact.add_tokens(first, n, out.all);
}

}  // namespace miser::learn
