#pragma once
#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "learn/fit_samples.h"
#include "nn/ops.h"

namespace miser::test {

/// A made-up context: random K and V, and sensitivities that `log_s` gives.
struct TraceMaker {
  std::size_t n_layers = 2;
  std::size_t n_heads = 4;
  std::size_t n_kv_heads = 2;
  std::size_t head_dim = 64;
  std::size_t n = 600;
  float centre = 0.5F;  ///< of all channels of K; V has -centre

  /// Of one vector: its side, ln of the mean over the group of what it received, its centred K row, and
  /// random bits.
  using LogS = std::function<double(std::size_t side, double received, std::span<const float> k,
                                    std::mt19937_64& random)>;
  LogS log_s;

  learn::Trace make(std::uint64_t seed) const;

 private:
  void add_token(std::size_t layer, std::size_t i, learn::Trace& trace, std::mt19937_64& random) const;
};

inline std::vector<std::uint16_t> halves(std::span<const float> x) {
  std::vector<std::uint16_t> out(x.size());
  nn::f32_to_f16(x, out);
  return out;
}

inline learn::Trace TraceMaker::make(std::uint64_t seed) const {
  std::mt19937_64 random(seed);
  learn::Trace trace;
  trace.n_layers = n_layers;
  trace.n_heads = n_heads;
  trace.n_kv_heads = n_kv_heads;
  trace.head_dim = head_dim;
  trace.first = 4;
  trace.n = n;
  trace.length = n + trace.first + 64;
  trace.window = trace.block = 32;
  trace.n_samples = 1;
  trace.seed = seed;
  trace.ids.resize(trace.length);
  for (std::size_t i = 0; i < n; ++i) trace.future.push_back(static_cast<float>(trace.length - 32 - i));
  std::normal_distribution<float> normal;
  for (std::size_t i = 0; i < 4 * n; ++i) trace.token_signals.push_back(normal(random));
  trace.fisher.resize(2 * n_layers * n * n_kv_heads);
  for (std::size_t layer = 0; layer < n_layers; ++layer) {
    for (std::size_t i = 0; i < n; ++i) add_token(layer, i, trace, random);
  }
  return trace;
}

inline void TraceMaker::add_token(std::size_t layer, std::size_t i, learn::Trace& trace,
                                  std::mt19937_64& random) const {
  std::normal_distribution<float> normal;
  const std::size_t group = n_heads / n_kv_heads;
  for (std::size_t head = 0; head < n_kv_heads; ++head) {
    const double received = -2 + static_cast<double>(normal(random));
    for (std::size_t g = 0; g < group; ++g) trace.received.push_back(static_cast<float>(std::exp(received)));
    trace.received_sq.push_back(static_cast<float>(std::exp(2 * received)));
    trace.received_max.push_back(static_cast<float>(std::exp(received)));
    std::array<std::vector<float>, 2> centred;
    for (std::size_t side = 0; side < 2; ++side) {
      double norm2 = 0;
      std::vector<float> row(head_dim);
      for (float& x : row) {
        centred[side].push_back(normal(random));
        norm2 += static_cast<double>(centred[side].back()) * static_cast<double>(centred[side].back());
        x = centred[side].back() + (side == 0 ? centre : -centre);
      }
      const auto rows = halves(row);
      auto& all = side == 0 ? trace.k : trace.v;
      all.insert(all.end(), rows.begin(), rows.end());
      const double s = std::exp(log_s(side, received, centred[0], random));
      const std::size_t at = ((side * n_layers + layer) * n + i) * n_kv_heads + head;
      trace.fisher[at] = static_cast<float>(2 * s * static_cast<double>(trace.future[i]) *
                                            static_cast<double>(head_dim) / norm2);
    }
  }
}

/// `n` contexts, seeds from `seed` on.
inline learn::TraceSource source_of(const TraceMaker& maker, std::size_t n, std::uint64_t seed) {
  return {n, [maker, seed](std::size_t i) { return maker.make(seed + i); }};
}

}  // namespace miser::test
