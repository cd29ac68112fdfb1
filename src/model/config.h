#pragma once
#include <cstddef>

#include "gguf/file.h"

namespace miser {

/// Hyperparameters of a llama-architecture model, named as in the literature.
struct ModelConfig {
  std::size_t n_layers = 0;
  std::size_t n_embd = 0;      ///< width of the residual stream
  std::size_t n_ff = 0;        ///< width of the SwiGLU hidden layer
  std::size_t n_heads = 0;     ///< query heads
  std::size_t n_kv_heads = 0;  ///< divides n_heads
  std::size_t head_dim = 0;
  std::size_t n_vocab = 0;
  std::size_t context = 0;   ///< positions the model was trained for
  std::size_t rope_dim = 0;  ///< leading dimensions of a head that are rotated; even
  float rope_base = 10000.0F;
  float rope_scale = 1.0F;  ///< positions are divided by it (linear scaling)
  float rms_epsilon = 1e-5F;

  std::size_t group() const { return n_heads / n_kv_heads; }
  std::size_t q_dim() const { return n_heads * head_dim; }
  std::size_t kv_dim() const { return n_kv_heads * head_dim; }
};

/// Reads and checks `llama.*` metadata. Throws Error naming file, key, found and expected; unsupported
/// features (experts, other architectures, YaRN) are errors, never ignored.
ModelConfig read_config(const gguf::File& file);

}  // namespace miser
