#pragma once
#include <vector>

#include "model/model.h"
#include "nn/thread_pool.h"

namespace miser::learn {

/// The matrices of one layer as floats, [rows, cols]; those that share an input are stacked.
struct FloatLayer {
  /// Replaces the contents by those of `weights`.
  void load(const LayerWeights& weights, nn::ThreadPool& pool);

  std::vector<float> qkv;      ///< [q_dim + 2 kv_dim, n_embd]
  std::vector<float> o;        ///< [n_embd, q_dim]
  std::vector<float> gate_up;  ///< [2 n_ff, n_embd]
  std::vector<float> down;     ///< [n_embd, n_ff]
};

}  // namespace miser::learn
