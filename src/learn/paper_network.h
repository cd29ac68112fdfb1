#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace miser::learn {

/// The paper's loss (arXiv 2604.04722, algorithm 1) of class probabilities p and a class y:
///     alpha (-ln p_y) + beta sum_k p_k latency_k + gamma (1 - sum_k p_k quality_k).
struct PaperLoss {
  double alpha = 1;
  double beta = 0;
  double gamma = 0;
  std::array<double, 4> latency{};
  std::array<double, 4> quality{};
};

/// The paper's controller, 4-128-128-4 with ReLU, as one list of parameters: w1 [128, 4], b1, w2 [128, 128],
/// b2, w3 [4, 128], b3. Rows of weights are outputs.
struct PaperNetwork {
  static constexpr std::size_t kInputs = 4;
  static constexpr std::size_t kHidden = 128;
  static constexpr std::size_t kClasses = 4;
  static constexpr std::size_t kW1 = 0;
  static constexpr std::size_t kB1 = kW1 + kHidden * kInputs;
  static constexpr std::size_t kW2 = kB1 + kHidden;
  static constexpr std::size_t kB2 = kW2 + kHidden * kHidden;
  static constexpr std::size_t kW3 = kB2 + kHidden;
  static constexpr std::size_t kB3 = kW3 + kClasses * kHidden;
  static constexpr std::size_t kSize = kB3 + kClasses;

  /// Weights drawn as He et al. 2015, biases zero.
  static std::vector<float> initial(std::uint64_t seed);

  /// Mean loss of a batch x [n, 4] of classes [n]. `gradient` [kSize] is overwritten, or empty.
  static double loss(std::span<const float> parameters, std::span<const float> x,
                     std::span<const std::uint8_t> classes, const PaperLoss& loss, std::span<float> gradient);
  /// The likeliest class of each row.
  static std::vector<std::uint8_t> classify(std::span<const float> parameters, std::span<const float> x);
};

}  // namespace miser::learn
