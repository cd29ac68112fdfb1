#include "learn/context_pass.h"

#include <algorithm>
#include <array>

#include "kv/attention.h"
#include "learn/rows.h"
#include "nn/ops.h"

namespace miser::learn {
namespace {

/// Queries that attention takes at a time: tokens packed before them are unpacked once.
constexpr std::size_t kChunk = 512;

class Pass {
 public:
  Pass(const Model& model, nn::ThreadPool& pool, const kv::CacheConfig& config)
      : model_(model), c_(model.config()), pool_(pool), cache_(config), attention_(cache_, pool) {}

  Activations run(std::span<const std::int32_t> ids, kv::WidthChooser& chooser, RowSink& rows);

 private:
  void attend(std::size_t layer, kv::WidthChooser& chooser, RowSink& rows);
  void feed_forward(std::size_t layer);

  const Model& model_;
  const ModelConfig& c_;
  nn::ThreadPool& pool_;
  kv::Cache cache_;
  kv::Attention attention_;
  Activations out_;
  std::vector<float> cos_sin_;
  std::vector<float> h_, q_, k_, v_, gate_, up_, delta_;
};

Activations Pass::run(std::span<const std::int32_t> ids, kv::WidthChooser& chooser, RowSink& rows) {
  out_.n = ids.size();
  out_.x.resize(c_.n_layers + 1);
  out_.attn.resize(c_.n_layers);
  out_.variance.resize(out_.n);
  out_.x[0].resize(out_.n * c_.n_embd);
  for (std::size_t i = 0; i < out_.n; ++i) {
    model_.embedding().row(static_cast<std::size_t>(ids[i]), row_of(out_.x[0], i, c_.n_embd));
  }
  cos_sin_ = rope_angles(model_, out_.n);
  h_.resize(out_.n * c_.n_embd);
  delta_.resize(out_.n * c_.n_embd);
  for (std::size_t layer = 0; layer < c_.n_layers; ++layer) {
    out_.x[layer + 1] = out_.x[layer];
    attend(layer, chooser, rows);
    feed_forward(layer);
  }
  return std::move(out_);
}

void Pass::attend(std::size_t layer, kv::WidthChooser& chooser, RowSink& rows) {
  const LayerWeights& w = model_.layer(layer);
  std::vector<float>& x = out_.x[layer + 1];
  std::vector<float>& attn = out_.attn[layer];
  q_.resize(out_.n * c_.q_dim());
  k_.resize(out_.n * c_.kv_dim());
  v_.resize(out_.n * c_.kv_dim());
  attn.resize(out_.n * c_.q_dim());
  for_rows(pool_, out_.n, [&](std::size_t i) {
    nn::rms_norm(row_of(x, i, c_.n_embd), w.attn_norm, c_.rms_epsilon, row_of(h_, i, c_.n_embd));
  });
  const std::array<nn::Product, 3> qkv = {{{&w.wq, q_.data()}, {&w.wk, k_.data()}, {&w.wv, v_.data()}}};
  nn::multiply(qkv, h_.data(), out_.n, pool_);
  for_rows(pool_, out_.n, [&](std::size_t i) {
    const auto angles = row_of(cos_sin_, i, c_.rope_dim);
    nn::apply_rope(row_of(q_, i, c_.q_dim()), c_.n_heads, c_.head_dim, angles);
    nn::apply_rope(row_of(k_, i, c_.kv_dim()), c_.n_kv_heads, c_.head_dim, angles);
  });
  rows.add(layer, k_, v_);
  for (std::size_t at = 0; at < out_.n; at += kChunk) {
    float* const variance = layer + 1 == c_.n_layers ? out_.variance.data() + at : nullptr;
    attention_.forward(
        {layer, std::min(kChunk, out_.n - at), q_.data() + at * c_.q_dim(), k_.data() + at * c_.kv_dim(),
         v_.data() + at * c_.kv_dim(), attn.data() + at * c_.q_dim(), variance},
        chooser);
  }
  const std::array<nn::Product, 1> out = {{{&w.wo, delta_.data()}}};
  nn::multiply(out, attn.data(), out_.n, pool_);
  nn::add(delta_, x);
}

void Pass::feed_forward(std::size_t layer) {
  const LayerWeights& w = model_.layer(layer);
  std::vector<float>& x = out_.x[layer + 1];
  gate_.resize(out_.n * c_.n_ff);
  up_.resize(out_.n * c_.n_ff);
  for_rows(pool_, out_.n, [&](std::size_t i) {
    nn::rms_norm(row_of(x, i, c_.n_embd), w.ffn_norm, c_.rms_epsilon, row_of(h_, i, c_.n_embd));
  });
  const std::array<nn::Product, 2> gate_up = {{{&w.w_gate, gate_.data()}, {&w.w_up, up_.data()}}};
  nn::multiply(gate_up, h_.data(), out_.n, pool_);
  for_rows(pool_, out_.n,
           [&](std::size_t i) { nn::silu_multiply(row_of(gate_, i, c_.n_ff), row_of(up_, i, c_.n_ff)); });
  const std::array<nn::Product, 1> down = {{{&w.w_down, delta_.data()}}};
  nn::multiply(down, gate_.data(), out_.n, pool_);
  nn::add(delta_, x);
}

}  // namespace

Activations read_context(const Model& model, nn::ThreadPool& pool, std::span<const std::int32_t> ids,
                         const kv::CacheConfig& config, kv::WidthChooser& chooser, RowSink& rows) {
  return Pass(model, pool, config).run(ids, chooser, rows);
}

}  // namespace miser::learn
