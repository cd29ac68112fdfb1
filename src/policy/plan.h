#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kv/width.h"

namespace miser::policy {

/// The shape of the model that a plan was made for, and a hash of its weights.
struct PlanModel {
  std::string name;
  std::uint64_t fingerprint = 0;
  std::size_t n_layers = 0;
  std::size_t n_heads = 0;
  std::size_t n_kv_heads = 0;
  std::size_t head_dim = 0;
};

/// Predicts ln of a sensitivity: bias + weights . clip((signals - mean) / deviation, -6, 6), one linear
/// function per side (0: K, 1: V), layer and KV head. F = columns of the signals.
struct LinearController {
  std::vector<std::string> signals;  ///< names, as SignalSet reads them
  /// The model's angle per position of each pair that RoPE turns, radians; at most head_dim / 2 of them.
  std::vector<float> rope_frequencies;
  std::vector<float> mean;       ///< [n_layers, n_kv_heads, F]
  std::vector<float> deviation;  ///< the same
  std::vector<float> bias;       ///< [2, n_layers, n_kv_heads]
  std::vector<float> weights;    ///< [2, n_layers, n_kv_heads, F]
};

/// The paper's network (arXiv 2604.04722, section 3): 4-128-128-4 with ReLU, rows of weights are outputs.
struct PaperController {
  std::array<float, 4> mean{};  ///< of entropy, rarity, attention variance, confidence
  std::array<float, 4> deviation{};
  std::vector<float> w1, b1;  ///< [128, 4], [128]
  std::vector<float> w2, b2;  ///< [128, 128], [128]
  std::vector<float> w3, b3;  ///< [4, 128], [4]; classes 2, 4, 8, 16 bits
};

/// What was learned of one model: how sensitive its cached vectors are, and how to tell. A sensitivity is the
/// expected KL in nats per future query and unit of relative squared error of one vector (docs/adaptive.md).
struct Plan {
  PlanModel model;
  std::size_t window = 32;  ///< the cache's rule of positions that it was trained for
  std::size_t block = 32;
  std::vector<float> centre_k;  ///< [n_layers, n_kv_heads, head_dim], or empty
  std::vector<float> centre_v;
  /// Relative squared error and stored bits per element of each width; errors per side.
  std::array<std::array<float, kv::kWidthCount>, 2> error{};
  std::array<float, kv::kWidthCount> stored_bits{};
  std::vector<kv::Width> ladder;        ///< widths that may be chosen
  std::vector<float> mean_sensitivity;  ///< [2, n_layers, n_kv_heads]: the static plan
  std::optional<LinearController> linear;
  std::optional<PaperController> paper;
  /// ln of the price that meets a budget on the training text: budgets ascending, bits per element.
  std::vector<float> price_bits;
  std::vector<float> price_log;
  float default_bits = 2.75F;  ///< stored bits per element that `learned` aims at unless told otherwise
  std::uint64_t text_hash = 0;
  std::string results;  ///< JSON: what the evaluation of this plan measured, or empty
};

/// A hash of all that decides a width.
std::uint64_t fingerprint(const Plan& plan);

}  // namespace miser::policy
