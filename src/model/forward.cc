#include "model/forward.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "base/divide_up.h"
#include "nn/gemm.h"
#include "nn/ops.h"
#include "nn/rope.h"

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
  pool.parallel_for(divide_up(n, kRowsPerItem), [&](std::size_t item, int) {
    const std::size_t end = std::min(n, (item + 1) * kRowsPerItem);
    for (std::size_t i = item * kRowsPerItem; i < end; ++i) body(i);
  });
}

/// Rows of a product of `n`: with min_rows above 1 some that nobody reads are added.
std::size_t padded(std::size_t n, std::size_t min_rows) {
  return min_rows > 1 ? nn::independent_rows(std::max(n, min_rows)) : n;
}

}  // namespace

// The path of a token, top to bottom.
void Forward::run(std::span<SequencePart> parts, std::size_t min_rows) {
  place(parts, min_rows);
  embed(parts);
  tabulate_rope(parts);
  for (std::size_t layer = 0; layer < model_.config().n_layers; ++layer) {
    attention_block(layer, parts);
    ffn_block(layer);
  }
  project(parts, min_rows);
}

/// Gives every part its rows.
void Forward::place(std::span<const SequencePart> parts, std::size_t min_rows) {
  first_row_.clear();
  n_ = 0;
  for (const SequencePart& part : parts) {
    assert(!part.tokens.empty() && part.n_logits <= part.tokens.size());
    assert(part.cache->size() + part.tokens.size() <= part.cache->capacity());
    first_row_.push_back(n_);
    n_ += part.tokens.size();
  }
  n_ = padded(n_, min_rows);
  const ModelConfig& c = model_.config();
  for (auto* const rows : {&x_, &h_, &delta_}) rows->resize(n_ * c.n_embd);
  for (auto* const rows : {&q_, &attn_}) rows->resize(n_ * c.q_dim());
  for (auto* const rows : {&k_, &v_}) rows->resize(n_ * c.kv_dim());
  for (auto* const rows : {&gate_, &up_}) rows->resize(n_ * c.n_ff);
  cos_sin_.resize(n_ * 2 * model_.rope_frequencies().size());
  variance_.resize(n_);
}

void Forward::embed(std::span<const SequencePart> parts) {
  std::size_t row = 0;
  for (const SequencePart& part : parts) {
    for (const std::int32_t token : part.tokens)
      model_.embedding().row(static_cast<std::size_t>(token), row_of(x_, row++, model_.config().n_embd));
  }
}

void Forward::tabulate_rope(std::span<const SequencePart> parts) {
  const std::vector<float>& frequencies = model_.rope_frequencies();
  std::size_t row = 0;
  for (const SequencePart& part : parts) {
    const std::size_t first = part.cache->shifted() + part.cache->size();
    for (std::size_t i = 0; i < part.tokens.size(); ++i)
      nn::rope_cos_sin(first + i, frequencies, row_of(cos_sin_, row++, 2 * frequencies.size()));
  }
}

void Forward::normalise(const std::vector<float>& weight) {
  const ModelConfig& c = model_.config();
  for_rows(pool_, n_, [&](std::size_t i) {
    nn::rms_norm(row_of(x_, i, c.n_embd), weight, c.rms_epsilon, row_of(h_, i, c.n_embd));
  });
}

void Forward::attention_block(std::size_t layer, std::span<const SequencePart> parts) {
  const ModelConfig& c = model_.config();
  const LayerWeights& w = model_.layer(layer);
  normalise(w.attn_norm);
  const std::array<nn::Product, 3> qkv = {{{&w.wq, q_.data()}, {&w.wk, k_.data()}, {&w.wv, v_.data()}}};
  nn::multiply(qkv, h_.data(), n_, pool_);
  for_rows(pool_, n_, [&](std::size_t i) {
    const auto angles = row_of(cos_sin_, i, 2 * model_.rope_frequencies().size());
    nn::apply_rope(row_of(q_, i, c.q_dim()), c.n_heads, c.head_dim, angles);
    nn::apply_rope(row_of(k_, i, c.kv_dim()), c.n_kv_heads, c.head_dim, angles);
  });
  attend(layer, parts);
  const std::array<nn::Product, 1> out = {{{&w.wo, delta_.data()}}};
  nn::multiply(out, attn_.data(), n_, pool_);
  add_delta();
}

void Forward::attend(std::size_t layer, std::span<const SequencePart> parts) {
  const ModelConfig& c = model_.config();
  const bool last = layer + 1 == c.n_layers;
  auto attend_part = [&](std::size_t p, int) {
    const SequencePart& part = parts[p];
    const std::size_t row = first_row_[p];
    float* const variance = part.wants_variance && last ? variance_.data() + row : nullptr;
    part.attention->forward(
        {layer, part.tokens.size(), q_.data() + row * c.q_dim(), k_.data() + row * c.kv_dim(),
         v_.data() + row * c.kv_dim(), attn_.data() + row * c.q_dim(), variance},
        *part.chooser);
  };
  if (parts.size() == 1) return attend_part(0, 0);  // whose heads the threads share
  pool_.parallel_for(parts.size(), attend_part);
}

void Forward::ffn_block(std::size_t layer) {
  const ModelConfig& c = model_.config();
  const LayerWeights& w = model_.layer(layer);
  normalise(w.ffn_norm);
  const std::array<nn::Product, 2> gate_up = {{{&w.w_gate, gate_.data()}, {&w.w_up, up_.data()}}};
  nn::multiply(gate_up, h_.data(), n_, pool_);
  for_rows(pool_, n_,
           [&](std::size_t i) { nn::silu_multiply(row_of(gate_, i, c.n_ff), row_of(up_, i, c.n_ff)); });
  const std::array<nn::Product, 1> down = {{{&w.w_down, delta_.data()}}};
  nn::multiply(down, gate_.data(), n_, pool_);
  add_delta();
}

void Forward::add_delta() {
  const std::size_t cols = model_.config().n_embd;
  for_rows(pool_, n_, [&](std::size_t i) { nn::add(row_of(delta_, i, cols), row_of(x_, i, cols)); });
}

/// Only of the rows that are asked for: the output matrix is a fifth of the model.
void Forward::project(std::span<SequencePart> parts, std::size_t min_rows) {
  const ModelConfig& c = model_.config();
  output_row_.clear();
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const std::size_t end = first_row_[p] + parts[p].tokens.size();
    for (std::size_t i = end - parts[p].n_logits; i < end; ++i) output_row_.push_back(i);
  }
  const std::size_t n = output_row_.empty() ? 0 : padded(output_row_.size(), min_rows);
  for_rows(pool_, output_row_.size(), [&](std::size_t i) {
    nn::rms_norm(row_of(x_, output_row_[i], c.n_embd), model_.output_norm(), c.rms_epsilon,
                 row_of(h_, i, c.n_embd));
  });
  logits_.resize(n * c.n_vocab);
  const std::array<nn::Product, 1> output = {{{&model_.output(), logits_.data()}}};
  nn::multiply(output, h_.data(), n, pool_);
  std::size_t done = 0;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    SequencePart& part = parts[p];
    part.logits = std::span(logits_).subspan(done * c.n_vocab, part.n_logits * c.n_vocab);
    if (part.wants_variance) part.variance = std::span(variance_).subspan(first_row_[p], part.tokens.size());
    done += part.n_logits;
  }
}

}  // namespace miser
