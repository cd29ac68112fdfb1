#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "learn/fit_prices.h"
#include "learn/fit_samples.h"
#include "policy/plan.h"

namespace miser::learn {

/// How the paper's network is trained. The paper leaves open its weights of the loss, its learning rate and
/// what its classes are made from (docs/adaptive.md says what we took).
struct PaperOptions {
  enum class Labels : std::uint8_t {
    kPrice,    ///< the class of least sensitivity * error + price * bits, both summed over all of the token's
               ///< vectors
    kQuartile  ///< the quartile of the token's sensitivity, as in the public reproduction
  };
  Labels labels = Labels::kPrice;
  double label_bits = 4.25;  ///< mean stored bits per element of the classes of kPrice
  double alpha = 1;
  double beta = 0.1;
  double gamma = 0.1;
  std::array<double, 4> latency{};  ///< of the classes, the largest 1; all zero: in proportion to stored bits
  std::size_t epochs = 40;
  std::size_t batch = 256;
  double rate = 1e-3;
  std::uint64_t seed = 1;
};

/// Fits the network on four fifths of the tokens, stratified by class, and keeps the parameters of the epoch
/// that has the least loss on the rest. `costs` of the classes 2, 4, 8 and 16 bits.
policy::PaperController fit_paper(const TraceSource& traces, const Sensitivities& truth,
                                  const SideCosts& costs, const PaperOptions& options);

/// Tokens' sensitivities summed over layers and KV heads, by side, and the classes made of them.
struct PaperLabels {
  std::array<std::vector<double>, 2> sensitivity;  ///< [n]
  std::vector<std::uint8_t> classes;               ///< [n]
};
PaperLabels paper_labels(const Sensitivities& truth, const SideCosts& costs, const PaperOptions& options);

}  // namespace miser::learn
