#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kv/cache.h"
#include "kv/width_chooser.h"
#include "model/model.h"
#include "nn/thread_pool.h"

namespace miser::learn {

/// What the backward pass needs of a forward pass over n tokens.
struct Activations {
  std::size_t n = 0;
  std::vector<std::vector<float>>
      x;  ///< n_layers + 1 times [n, n_embd]: input of each layer, and of the output
  std::vector<std::vector<float>> attn;  ///< n_layers times [n, q_dim]: the sums of values
  std::vector<float> variance;           ///< [n] as kv::AttentionChunk, of the last layer
};

/// Told the keys (after RoPE) and values of a layer, [n, n_kv_heads, head_dim] each.
class RowSink {
 public:
  virtual ~RowSink() = default;
  virtual void add(std::size_t layer, std::span<const float> k, std::span<const float> v) = 0;
};

/// The forward pass of model/forward.h over a whole context, layer by layer, through a cache of the given
/// window and block that packs at the widths `chooser` says. No logits.
Activations read_context(const Model& model, nn::ThreadPool& pool, std::span<const std::int32_t> ids,
                         const kv::CacheConfig& config, kv::WidthChooser& chooser, RowSink& rows);

}  // namespace miser::learn
