#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"
#include "nn/thread_pool.h"

namespace miser::learn {

struct TraceOptions {
  std::size_t window = 32;  ///< W and B of the rule of positions: a block [b, b + B) is read packed by the
  std::size_t block = 32;   ///< query t if and only if b + B + W <= t
  std::size_t sinks = 4;    ///< first tokens, which are always read exactly
  std::size_t n_samples = 4;
  std::uint64_t seed = 1;  ///< of the draws
};

/// Tokens of the shortest context of which some query reads a token packed.
std::size_t least_context(const TraceOptions& options);

/// What was seen of one context of a model that read it with an exact cache, for the tokens [first, first +
/// n) that left the window. Sides: 0 is K, 1 is V.
struct Trace {
  std::size_t n_layers = 0;
  std::size_t n_heads = 0;
  std::size_t n_kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t length = 0;  ///< of the context
  std::size_t first = 0;   ///< position of the first token here: the number of sinks
  std::size_t n = 0;
  std::size_t window = 0;
  std::size_t block = 0;
  std::size_t n_samples = 0;
  std::uint64_t seed = 0;

  std::vector<std::int32_t> ids;    ///< [length]
  std::vector<float> received;      ///< [n_layers, n, n_heads], as kv::LeavingBlock
  std::vector<float> received_sq;   ///< [n_layers, n, n_kv_heads]
  std::vector<float> received_max;  ///< [n_layers, n, n_kv_heads]
  std::vector<std::uint16_t>
      k;  ///< [n_layers, n, n_kv_heads, head_dim] binary16, neither centred nor rotated
  std::vector<std::uint16_t> v;      ///< the same
  std::vector<float> token_signals;  ///< [n, 4]: the paper's entropy, rarity, attention variance, confidence
  /// [2, n_layers, n, n_kv_heads]: E |g|^2 over samples, g the gradient of sum_t ln p(y_t) with respect to
  /// the vector as read packed, y_t drawn from the model.
  std::vector<float> fisher;
  std::vector<float> future;  ///< [n]: queries of the context that read the token packed
};

/// Reads the context `ids` and measures its Fisher sensitivities. The same seed gives the same trace,
/// whatever the number of threads. Memory: 8 n_layers n_embd bytes a token for the activations, and what a
/// layer needs. Throws Error when no query of the context reads a packed token or an id is not in the
/// vocabulary. REQUIRES: n_samples > 0, and `block` divides kv::Segment::kMaxTokens.
Trace trace_context(const Model& model, nn::ThreadPool& pool, std::span<const std::int32_t> ids,
                    const TraceOptions& options);

}  // namespace miser::learn
