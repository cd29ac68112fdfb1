#pragma once
#include <span>
#include <vector>

#include "learn/context_pass.h"
#include "learn/position_rule.h"
#include "model/model.h"
#include "nn/thread_pool.h"

namespace miser::learn {

/// Which tokens are measured: [first, first + n).
struct TokenRange {
  std::size_t first = 0;
  std::size_t n = 0;
};

/// Goes down a model from the gradient of a score with respect to its last residual stream, `dy`
/// [activations.n, n_samples, n_embd], and returns the Fisher information [2, n_layers, tokens.n,
/// n_kv_heads]: the mean over samples of |g|^2, g the gradient with respect to a K (after RoPE) or V vector
/// as read by the queries that read it packed. Uses up the activations, whose inside it computes again layer
/// by layer; all in float.
std::vector<float> fisher_information(const Model& model, nn::ThreadPool& pool, Activations activations,
                                      std::vector<float> dy, PositionRule rule, TokenRange tokens);

}  // namespace miser::learn
