#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kv/attention.h"
#include "kv/cache.h"
#include "model/model.h"
#include "nn/thread_pool.h"

namespace miser {

/// What a pass processes of one sequence, and what it shows of it.
struct SequencePart {
  std::span<const std::int32_t> tokens;  ///< n of them, at the positions after those in the cache
  kv::Cache* cache = nullptr;
  kv::Attention* attention = nullptr;   ///< over `cache`
  kv::WidthChooser* chooser = nullptr;  ///< says the widths of the blocks that leave the window
  std::size_t n_logits = 0;             ///< logits are wanted of so many of its last tokens
  bool wants_variance = false;

  // Filled by the pass and valid until the next.
  std::span<const float> logits{};    ///< [n_logits, n_vocab]
  std::span<const float> variance{};  ///< [n] last layer's attention row, mean over heads; empty if unwanted
};

/// The forward pass: owns the activations, reads the model, fills the caches of one or several sequences.
/// Matrix products run over the rows of all sequences at once, attention sequence by sequence.
class Forward {
 public:
  /// Both outlive the pass.
  Forward(const Model& model, nn::ThreadPool& pool) : model_(model), pool_(pool) {}

  /// Processes parts of different sequences. Products get rows that nobody reads, at least up to `min_rows`:
  /// with nn::kManyRows a sequence's results do not depend on its company.
  /// REQUIRES: at least one part; each has 1 to context - cache.size() tokens, 0 <= id < n_vocab, and
  /// n_logits <= n. Several parts are shared among the threads of the pool, so their attention then has
  /// pools of its own.
  void run(std::span<SequencePart> parts, std::size_t min_rows = 1);

  std::size_t n_vocab() const { return model_.config().n_vocab; }

 private:
  void place(std::span<const SequencePart> parts, std::size_t min_rows);
  void embed(std::span<const SequencePart> parts);
  void tabulate_rope(std::span<const SequencePart> parts);
  void normalise(const std::vector<float>& weight);
  void attention_block(std::size_t layer, std::span<const SequencePart> parts);
  void attend(std::size_t layer, std::span<const SequencePart> parts);
  void ffn_block(std::size_t layer);
  void add_delta();
  void project(std::span<SequencePart> parts, std::size_t min_rows);

  const Model& model_;
  nn::ThreadPool& pool_;
  std::size_t n_ = 0;                    ///< rows of the pass: tokens of all parts, padding
  std::vector<std::size_t> first_row_;   ///< [parts]
  std::vector<std::size_t> output_row_;  ///< rows whose logits are wanted
  // Activations of the pass.
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
  std::vector<float> logits_;    ///< [output rows, n_vocab]
  std::vector<float> variance_;  ///< [n]
};

}  // namespace miser
