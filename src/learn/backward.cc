#include "learn/backward.h"

#include <algorithm>
#include <cassert>

#include "base/divide_up.h"
#include "learn/attention_gradient.h"
#include "learn/float_layer.h"
#include "learn/op_gradients.h"
#include "learn/rows.h"
#include "nn/gemm.h"
#include "nn/ops.h"

namespace miser::learn {
namespace {

constexpr std::size_t kTokens = 128;  ///< that one thread takes through the products at a time

class Backward {
 public:
  Backward(const Model& model, nn::ThreadPool& pool, Activations activations, std::vector<float> dy,
           PositionRule rule, TokenRange tokens);

  std::vector<float> run();

 private:
  /// Scratch of one thread; R = tokens of a chunk, S = samples.
  struct Worker {
    std::vector<float> x1;      ///< [R, n_embd] residual stream between attention and the feed-forward block
    std::vector<float> h;       ///< [R, n_embd] normalised
    std::vector<float> qkv;     ///< [R, q_dim + 2 kv_dim]
    std::vector<float> slopes;  ///< [R, 2 n_ff] gate and up, then the slopes of their product
    std::vector<float> d_hidden;  ///< [R S, n_ff]
    std::vector<float> d_wide;    ///< [R S, 2 n_ff or q_dim + 2 kv_dim]
    std::vector<float> d_h;       ///< [R S, n_embd]
    TokenGradients of_tokens;
  };
  /// Tokens [begin, begin + n).
  struct Chunk {
    std::size_t begin, n;
  };

  template <class Body>
  void for_chunks(const Body& body);
  void enter_attention(std::size_t layer, Chunk chunk, Worker& w);
  void leave_feed_forward(std::size_t layer, Chunk chunk, Worker& w);
  void store_rows(Chunk chunk, const Worker& w);
  void measure(std::size_t layer, Chunk chunk, Worker& w);
  void leave_attention(std::size_t layer, Chunk chunk, Worker& w);
  /// dy += the gradient through a norm of x, from w.d_h.
  void add_norm_gradient(const float* x, const std::vector<float>& weight, Chunk chunk, Worker& w);

  std::size_t qkv_dim() const { return c_.q_dim() + 2 * c_.kv_dim(); }
  float* dy(Chunk chunk) { return dy_.data() + chunk.begin * n_samples_ * c_.n_embd; }

  const Model& model_;
  const ModelConfig& c_;
  nn::ThreadPool& pool_;
  Activations in_;
  std::vector<float> dy_;  ///< [n, S, n_embd]
  std::size_t n_samples_;
  TokenRange tokens_;
  AttentionGradient attention_;
  FloatLayer weights_;
  std::vector<float> angles_;       ///< [n, rope_dim]
  std::vector<float> angles_back_;  ///< the same, of the inverse
  std::vector<float> q_;            ///< [n, q_dim]
  std::vector<float> k_, v_;        ///< [n_kv_heads, n, head_dim], rounded to binary16 as in the cache
  std::vector<float> d_attn_;       ///< [n, S, q_dim] gradient by the sums of values, then by q
  std::vector<float> fisher_;
  std::vector<Worker> workers_;
};

Backward::Backward(const Model& model, nn::ThreadPool& pool, Activations activations, std::vector<float> dy,
                   PositionRule rule, TokenRange tokens)
    : model_(model),
      c_(model.config()),
      pool_(pool),
      in_(std::move(activations)),
      dy_(std::move(dy)),
      n_samples_(dy_.size() / (in_.n * c_.n_embd)),
      tokens_(tokens),
      attention_(c_, rule, n_samples_),
      angles_(rope_angles(model, in_.n)),
      angles_back_(angles_),
      q_(in_.n * c_.q_dim()),
      k_(in_.n * c_.kv_dim()),
      v_(in_.n * c_.kv_dim()),
      d_attn_(in_.n * n_samples_ * c_.q_dim()),
      fisher_(2 * c_.n_layers * tokens.n * c_.n_kv_heads),
      workers_(static_cast<std::size_t>(pool.size())) {
  assert(dy_.size() == in_.n * n_samples_ * c_.n_embd);
  for (std::size_t i = 1; i < angles_back_.size(); i += 2) angles_back_[i] = -angles_back_[i];
}

std::vector<float> Backward::run() {
  for (std::size_t layer = c_.n_layers; layer-- > 0;) {
    weights_.load(model_.layer(layer), pool_);
    for_chunks([&](Chunk chunk, Worker& w) {
      enter_attention(layer, chunk, w);
      leave_feed_forward(layer, chunk, w);
    });
    attention_.run({in_.n, q_.data(), k_.data(), v_.data(), in_.attn[layer].data(), d_attn_.data()}, pool_);
    for_chunks([&](Chunk chunk, Worker& w) {
      measure(layer, chunk, w);
      if (layer > 0) leave_attention(layer, chunk, w);
    });
    in_.x[layer + 1] = {};
    in_.attn[layer] = {};
  }
  return std::move(fisher_);
}

template <class Body>
void Backward::for_chunks(const Body& body) {
  pool_.parallel_for(divide_up(in_.n, kTokens), [&](std::size_t item, int worker) {
    const std::size_t begin = item * kTokens;
    body(Chunk{begin, std::min(kTokens, in_.n - begin)}, workers_[static_cast<std::size_t>(worker)]);
  });
}

/// q, k and v again.
void Backward::enter_attention(std::size_t layer, Chunk chunk, Worker& w) {
  const std::size_t width = qkv_dim();
  w.h.resize(chunk.n * c_.n_embd);
  w.qkv.resize(chunk.n * width);
  for (std::size_t i = 0; i < chunk.n; ++i) {
    nn::rms_norm(row_of(in_.x[layer], chunk.begin + i, c_.n_embd), model_.layer(layer).attn_norm,
                 c_.rms_epsilon, row_of(w.h, i, c_.n_embd));
  }
  nn::gemm_nt(chunk.n, width, c_.n_embd, 1.0F, w.h.data(), c_.n_embd, weights_.qkv.data(), c_.n_embd, 0.0F,
              w.qkv.data(), width);
  for (std::size_t i = 0; i < chunk.n; ++i) {
    const auto angles = row_of(angles_, chunk.begin + i, c_.rope_dim);
    const auto row = row_of(w.qkv, i, width);
    nn::apply_rope(row.first(c_.q_dim()), c_.n_heads, c_.head_dim, angles);
    nn::apply_rope(row.subspan(c_.q_dim(), c_.kv_dim()), c_.n_kv_heads, c_.head_dim, angles);
  }
  store_rows(chunk, w);
}

void Backward::store_rows(Chunk chunk, const Worker& w) {
  std::vector<std::uint16_t> half(c_.kv_dim());
  std::vector<float> rounded(c_.kv_dim());
  for (std::size_t i = 0; i < chunk.n; ++i) {
    const auto row = row_of(w.qkv, i, qkv_dim());
    const std::size_t t = chunk.begin + i;
    std::copy_n(row.begin(), c_.q_dim(), q_.begin() + t * c_.q_dim());
    const auto store = [&](std::size_t from, std::vector<float>& to) {
      nn::f32_to_f16(row.subspan(from, c_.kv_dim()), half);
      nn::f16_to_f32(half, rounded);
      for (std::size_t g = 0; g < c_.n_kv_heads; ++g)
        std::copy_n(rounded.begin() + g * c_.head_dim, c_.head_dim,
                    to.begin() + (g * in_.n + t) * c_.head_dim);
    };
    store(c_.q_dim(), k_);
    store(c_.q_dim() + c_.kv_dim(), v_);
  }
}

/// dy: from the layer's output to the residual stream after attention; d_attn_ from it.
void Backward::leave_feed_forward(std::size_t layer, Chunk chunk, Worker& w) {
  const std::size_t d = c_.n_embd;
  const std::size_t n_ff = c_.n_ff;
  const std::size_t rows = chunk.n * n_samples_;
  const auto x = in_.x[layer].begin() + static_cast<std::ptrdiff_t>(chunk.begin * d);
  w.x1.assign(x, x + static_cast<std::ptrdiff_t>(chunk.n * d));
  nn::gemm_nt(chunk.n, d, c_.q_dim(), 1.0F, in_.attn[layer].data() + chunk.begin * c_.q_dim(), c_.q_dim(),
              weights_.o.data(), c_.q_dim(), 1.0F, w.x1.data(), d);
  w.h.resize(chunk.n * d);
  for (std::size_t i = 0; i < chunk.n; ++i) {
    nn::rms_norm(row_of(w.x1, i, d), model_.layer(layer).ffn_norm, c_.rms_epsilon, row_of(w.h, i, d));
  }
  w.slopes.resize(chunk.n * 2 * n_ff);
  nn::gemm_nt(chunk.n, 2 * n_ff, d, 1.0F, w.h.data(), d, weights_.gate_up.data(), d, 0.0F, w.slopes.data(),
              2 * n_ff);
  w.d_hidden.resize(rows * n_ff);
  nn::gemm_nn(rows, n_ff, d, 1.0F, dy(chunk), d, weights_.down.data(), n_ff, 0.0F, w.d_hidden.data(), n_ff);
  w.d_wide.resize(rows * 2 * n_ff);
  for (std::size_t i = 0; i < chunk.n; ++i) {
    const auto slopes = row_of(w.slopes, i, 2 * n_ff);
    swiglu_slopes(slopes.first(n_ff), slopes.last(n_ff));
    for (std::size_t row = i * n_samples_; row < (i + 1) * n_samples_; ++row) {
      const float* from = w.d_hidden.data() + row * n_ff;
      float* to = w.d_wide.data() + row * 2 * n_ff;
      for (std::size_t j = 0; j < n_ff; ++j) to[j] = from[j] * slopes[j];
      for (std::size_t j = 0; j < n_ff; ++j) to[n_ff + j] = from[j] * slopes[n_ff + j];
    }
  }
  w.d_h.resize(rows * d);
  nn::gemm_nn(rows, d, 2 * n_ff, 1.0F, w.d_wide.data(), 2 * n_ff, weights_.gate_up.data(), d, 0.0F,
              w.d_h.data(), d);
  add_norm_gradient(w.x1.data(), model_.layer(layer).ffn_norm, chunk, w);
  nn::gemm_nn(rows, c_.q_dim(), d, 1.0F, dy(chunk), d, weights_.o.data(), c_.q_dim(), 0.0F,
              d_attn_.data() + chunk.begin * n_samples_ * c_.q_dim(), c_.q_dim());
}

void Backward::add_norm_gradient(const float* x, const std::vector<float>& weight, Chunk chunk, Worker& w) {
  std::vector<float> dx(c_.n_embd);
  for (std::size_t row = 0; row < chunk.n * n_samples_; ++row) {
    norm_gradient({x + row / n_samples_ * c_.n_embd, c_.n_embd}, weight, c_.rms_epsilon,
                  row_of(w.d_h, row, c_.n_embd), dx);
    nn::add(dx, {dy(chunk) + row * c_.n_embd, c_.n_embd});
  }
}

/// Fisher information of the chunk's tokens; dk and dv of all queries into w.d_wide.
void Backward::measure(std::size_t layer, Chunk chunk, Worker& w) {
  const std::size_t width = qkv_dim();
  w.d_wide.resize(chunk.n * n_samples_ * width);
  for (std::size_t g = 0; g < c_.n_kv_heads; ++g) {
    attention_.read(g, chunk.begin, chunk.n, w.of_tokens);
    for (std::size_t side = 0; side < 2; ++side) {
      const std::size_t size = n_samples_ * c_.head_dim;
      std::vector<float> squares(chunk.n);
      for (std::size_t i = 0; i < size; ++i) {
        const std::size_t at = (side * size + i) * chunk.n;
        const std::size_t column = c_.q_dim() + (side * c_.n_kv_heads + g) * c_.head_dim + i % c_.head_dim;
        for (std::size_t t = 0; t < chunk.n; ++t) {
          squares[t] += w.of_tokens.packed[at + t] * w.of_tokens.packed[at + t];
          w.d_wide[(t * n_samples_ + i / c_.head_dim) * width + column] = w.of_tokens.all[at + t];
        }
      }
      for (std::size_t t = 0; t < chunk.n; ++t) {
        const std::size_t token = chunk.begin + t - tokens_.first;  // wraps for those before
        if (token >= tokens_.n) continue;
        fisher_[((side * c_.n_layers + layer) * tokens_.n + token) * c_.n_kv_heads + g] =
            squares[t] / static_cast<float>(n_samples_);
      }
    }
  }
}

/// dy: from the residual stream after attention to the layer's input.
void Backward::leave_attention(std::size_t layer, Chunk chunk, Worker& w) {
  const std::size_t width = qkv_dim();
  const std::size_t rows = chunk.n * n_samples_;
  for (std::size_t row = 0; row < rows; ++row) {
    const auto to = row_of(w.d_wide, row, width);
    const auto angles = row_of(angles_back_, chunk.begin + row / n_samples_, c_.rope_dim);
    std::copy_n(d_attn_.begin() + (chunk.begin * n_samples_ + row) * c_.q_dim(), c_.q_dim(), to.begin());
    nn::apply_rope(to.first(c_.q_dim()), c_.n_heads, c_.head_dim, angles);
    nn::apply_rope(to.subspan(c_.q_dim(), c_.kv_dim()), c_.n_kv_heads, c_.head_dim, angles);
  }
  w.d_h.resize(rows * c_.n_embd);
  nn::gemm_nn(rows, c_.n_embd, width, 1.0F, w.d_wide.data(), width, weights_.qkv.data(), c_.n_embd, 0.0F,
              w.d_h.data(), c_.n_embd);
  add_norm_gradient(in_.x[layer].data() + chunk.begin * c_.n_embd, model_.layer(layer).attn_norm, chunk, w);
}

}  // namespace

std::vector<float> fisher_information(const Model& model, nn::ThreadPool& pool, Activations activations,
                                      std::vector<float> dy, PositionRule rule, TokenRange tokens) {
  return Backward(model, pool, std::move(activations), std::move(dy), rule, tokens).run();
}

}  // namespace miser::learn
