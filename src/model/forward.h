#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kv/attention.h"
#include "kv/cache.h"
#include "model/model.h"
#include "nn/thread_pool.h"

namespace miser {

enum class LogitsOf : std::uint8_t { kNone, kLast, kAll };

/// The forward pass of one sequence: owns the activations, reads the model, fills the cache.
class Forward {
 public:
  /// All three outlive the pass.
  Forward(const Model& model, kv::Cache& cache, nn::ThreadPool& pool);

  /// Processes `tokens` at the positions after those in the cache. Blocks that leave the window are packed at
  /// the widths that `chooser` says. Returns logits [0, 1 or n, n_vocab], valid until the next call.
  /// REQUIRES: 1 <= tokens.size(), cache.size() + tokens.size() <= context, 0 <= id < n_vocab.
  std::span<const float> run(std::span<const std::int32_t> tokens, kv::WidthChooser& chooser,
                             LogitsOf logits);

  std::size_t n_vocab() const { return model_.config().n_vocab; }

  /// Compute the last layer's attention variance in run() (off at first).
  void track_attention_variance(bool on) { track_variance_ = on; }
  /// Mean over heads of the variance of the last layer's attention row, per token of the last run() [n].
  std::span<const float> attention_variance() const { return variance_; }

 private:
  void resize(std::size_t n);
  void embed(std::span<const std::int32_t> tokens);
  void tabulate_rope(std::size_t first_position, std::size_t n);
  void normalise(std::size_t n, const std::vector<float>& weight);
  void attention_block(std::size_t layer, std::size_t n, kv::WidthChooser& chooser);
  void ffn_block(std::size_t layer, std::size_t n);
  std::span<const float> project(std::size_t n, LogitsOf logits);

  const Model& model_;
  kv::Cache& cache_;
  nn::ThreadPool& pool_;
  kv::Attention attention_;
  bool track_variance_ = false;
  // Activations of the chunk; first dimension is its n tokens.
  std::vector<float> x_;         ///< residual stream [n, n_embd]
  std::vector<float> h_;         ///< normalised [n, n_embd]
  std::vector<float> q_;         ///< [n, q_dim]
  std::vector<float> k_;         ///< [n, kv_dim]
  std::vector<float> v_;         ///< [n, kv_dim]
  std::vector<float> attn_;      ///< [n, q_dim]
  std::vector<float> gate_;      ///< [n, n_ff]
  std::vector<float> up_;        ///< [n, n_ff]
  std::vector<float> delta_;     ///< what a block adds to the residual [n, n_embd]
  std::vector<float> cos_sin_;   ///< [n, rope_dim / 2, 2]
  std::vector<float> logits_;    ///< [1 or n, n_vocab]
  std::vector<float> variance_;  ///< [n]
};

}  // namespace miser
