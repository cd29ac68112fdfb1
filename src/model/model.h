#pragma once
#include <memory>
#include <string>
#include <vector>

#include "gguf/file.h"
#include "model/config.h"
#include "nn/matrix.h"

namespace miser {

/// Weights of one transformer layer; shapes are [rows, cols] of the matrix-vector product.
struct LayerWeights {
  std::vector<float> attn_norm;  ///< [n_embd]
  nn::Matrix wq;                 ///< [q_dim, n_embd]
  nn::Matrix wk;                 ///< [kv_dim, n_embd]
  nn::Matrix wv;                 ///< [kv_dim, n_embd]
  nn::Matrix wo;                 ///< [n_embd, q_dim]
  std::vector<float> ffn_norm;   ///< [n_embd]
  nn::Matrix w_gate;             ///< [n_ff, n_embd]
  nn::Matrix w_up;               ///< [n_ff, n_embd]
  nn::Matrix w_down;             ///< [n_embd, n_ff]
};

/// An immutable llama-architecture model; any number of sequences may read it at once.
class Model {
 public:
  /// Throws Error when a tensor is missing, has another shape or would be ignored.
  explicit Model(gguf::File file);
  /// Opens `path` first.
  static Model load(const std::string& path);

  const ModelConfig& config() const { return config_; }
  const gguf::File& file() const { return file_; }
  const nn::Matrix& embedding() const { return embedding_; }  ///< [n_vocab, n_embd]
  const nn::Matrix& output() const { return output_ ? *output_ : embedding_; }
  const std::vector<float>& output_norm() const { return output_norm_; }
  const LayerWeights& layer(std::size_t index) const { return layers_[index]; }
  /// Angle per position of each pair of rotated dimensions, llama3 and linear scaling applied: [rope_dim /
  /// 2].
  const std::vector<float>& rope_frequencies() const { return rope_frequencies_; }
  /// Weight bytes read to decode one token.
  std::size_t bytes_per_token() const;

 private:
  gguf::File file_;
  ModelConfig config_;
  nn::Matrix embedding_;
  std::unique_ptr<nn::Matrix> output_;  ///< null when tied to the embedding
  std::vector<float> output_norm_;
  std::vector<LayerWeights> layers_;
  std::vector<float> rope_frequencies_;
};

}  // namespace miser
