#include "model/forward.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "nn/ops.h"

namespace miser {
namespace {

/// Row `i` of a dense matrix of `cols` columns.
std::span<float> row_of(std::vector<float>& matrix, std::size_t i, std::size_t cols) {
  return std::span(matrix).subspan(i * cols, cols);
}

/// Rows that one thread takes at a time from element-wise work; a decoded token stays on the caller.
constexpr std::size_t kRowsPerItem = 8;

template <typename Body>
void for_rows(nn::ThreadPool& pool, std::size_t n, const Body& body) {
  pool.parallel_for((n + kRowsPerItem - 1) / kRowsPerItem, [&](std::size_t item, int) {
    const std::size_t end = std::min(n, (item + 1) * kRowsPerItem);
    for (std::size_t i = item * kRowsPerItem; i < end; ++i) body(i);
  });
}

}  // namespace

Forward::Forward(const Model& model, kv::Cache& cache, nn::ThreadPool& pool)
    : model_(model), cache_(cache), pool_(pool), attention_(cache, pool) {}

// The path of a token, top to bottom.
std::span<const float> Forward::run(std::span<const std::int32_t> tokens, kv::WidthChooser& chooser,
                                    LogitsOf logits) {
  const std::size_t n = tokens.size();
  assert(n >= 1 && cache_.size() + n <= cache_.config().context);
  resize(n);
  embed(tokens);
  tabulate_rope(cache_.size(), n);
  for (std::size_t layer = 0; layer < model_.config().n_layers; ++layer) {
    attention_block(layer, n, chooser);
    ffn_block(layer, n);
  }
  return project(n, logits);
}

void Forward::resize(std::size_t n) {
  const ModelConfig& c = model_.config();
  x_.resize(n * c.n_embd);
  h_.resize(n * c.n_embd);
  delta_.resize(n * c.n_embd);
  q_.resize(n * c.q_dim());
  attn_.resize(n * c.q_dim());
  k_.resize(n * c.kv_dim());
  v_.resize(n * c.kv_dim());
  gate_.resize(n * c.n_ff);
  up_.resize(n * c.n_ff);
  variance_.resize(track_variance_ ? n : 0);
}

void Forward::embed(std::span<const std::int32_t> tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    model_.embedding().row(static_cast<std::size_t>(tokens[i]), row_of(x_, i, model_.config().n_embd));
  }
}

void Forward::tabulate_rope(std::size_t first_position, std::size_t n) {
  const std::vector<float>& frequencies = model_.rope_frequencies();
  cos_sin_.resize(n * 2 * frequencies.size());
  float* out = cos_sin_.data();
  for (std::size_t i = 0; i < n; ++i) {
    for (const float frequency : frequencies) {
      const double angle = static_cast<double>(first_position + i) * frequency;
      *out++ = static_cast<float>(std::cos(angle));
      *out++ = static_cast<float>(std::sin(angle));
    }
  }
}

void Forward::normalise(std::size_t n, const std::vector<float>& weight) {
  const ModelConfig& c = model_.config();
  for_rows(pool_, n, [&](std::size_t i) {
    nn::rms_norm(row_of(x_, i, c.n_embd), weight, c.rms_epsilon, row_of(h_, i, c.n_embd));
  });
}

void Forward::attention_block(std::size_t layer, std::size_t n, kv::WidthChooser& chooser) {
  const ModelConfig& c = model_.config();
  const LayerWeights& w = model_.layer(layer);
  normalise(n, w.attn_norm);
  const std::array<nn::Product, 3> qkv = {{{&w.wq, q_.data()}, {&w.wk, k_.data()}, {&w.wv, v_.data()}}};
  nn::multiply(qkv, h_.data(), n, pool_);
  for_rows(pool_, n, [&](std::size_t i) {
    const auto angles = row_of(cos_sin_, i, 2 * model_.rope_frequencies().size());
    nn::apply_rope(row_of(q_, i, c.q_dim()), c.n_heads, c.head_dim, angles);
    nn::apply_rope(row_of(k_, i, c.kv_dim()), c.n_kv_heads, c.head_dim, angles);
  });
  const bool last = layer + 1 == c.n_layers;
  float* const variance = track_variance_ && last ? variance_.data() : nullptr;
  attention_.forward({layer, n, q_.data(), k_.data(), v_.data(), attn_.data(), variance}, chooser);
  const std::array<nn::Product, 1> out = {{{&w.wo, delta_.data()}}};
  nn::multiply(out, attn_.data(), n, pool_);
  nn::add(delta_, x_);
}

void Forward::ffn_block(std::size_t layer, std::size_t n) {
  const ModelConfig& c = model_.config();
  const LayerWeights& w = model_.layer(layer);
  normalise(n, w.ffn_norm);
  const std::array<nn::Product, 2> gate_up = {{{&w.w_gate, gate_.data()}, {&w.w_up, up_.data()}}};
  nn::multiply(gate_up, h_.data(), n, pool_);
  for_rows(pool_, n,
           [&](std::size_t i) { nn::silu_multiply(row_of(gate_, i, c.n_ff), row_of(up_, i, c.n_ff)); });
  const std::array<nn::Product, 1> down = {{{&w.w_down, delta_.data()}}};
  nn::multiply(down, gate_.data(), n, pool_);
  nn::add(delta_, x_);
}

std::span<const float> Forward::project(std::size_t n, LogitsOf logits) {
  if (logits == LogitsOf::kNone) return {};
  const ModelConfig& c = model_.config();
  normalise(n, model_.output_norm());
  const std::size_t n_out = logits == LogitsOf::kAll ? n : 1;
  logits_.resize(n_out * c.n_vocab);
  const std::array<nn::Product, 1> output = {{{&model_.output(), logits_.data()}}};
  nn::multiply(output, h_.data() + (n - n_out) * c.n_embd, n_out, pool_);
  return logits_;
}

}  // namespace miser
