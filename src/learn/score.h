#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/model.h"
#include "nn/thread_pool.h"
#include "policy/signals.h"

namespace miser::learn {

/// Fills y [n_samples] with tokens drawn for the query at `position`, whose next token has `probabilities`
/// [n_vocab]. Called by several threads at once.
using Draw = std::function<void(std::size_t position, std::span<const float> probabilities,
                                std::span<std::int32_t> y)>;

/// Independent draws from the distribution itself, a function of seed, position and sample alone.
Draw draw_from_model(std::uint64_t seed);

struct Score {
  /// [n, n_samples, n_embd]: gradient of ln p(y) with respect to x.
  std::vector<float> gradient;
  std::vector<policy::LogitSignals> signals;  ///< [n]
};

/// The output of a model at the residual stream x [n, n_embd], in chunks of rows so that logits are never
/// held together, and the gradient of the score: with h = norm(x) and logits = W h,
///     d ln p(y) / d h = W[y] - sum_v p(v) W[v].
Score score_gradient(const Model& model, nn::ThreadPool& pool, const std::vector<float>& x,
                     std::size_t n_samples, const Draw& draw);

}  // namespace miser::learn
