#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace miser::policy {

/// The paper's four signals of a token (arXiv 2604.04722, section 3; PAPER.md section 2). All in nats.
struct TokenSignals {
  std::int32_t id = 0;
  float entropy = 0;             ///< H_t = -sum_v p_t(v) ln p_t(v)
  float rarity = 0;              ///< R_t = -ln((c(x_t) + 1) / (N + U + 1))
  float attention_variance = 0;  ///< V_t: mean over heads of the variance of the last layer's attention row
  float confidence = 0;          ///< C_t = max_v p_t(v)
};

/// Running token counts for the rarity of a token: smoothed self-information before it is counted itself.
class RarityCounter {
 public:
  /// Returns R of `id` given the tokens seen so far, then counts it.
  float observe(std::int32_t id);

 private:
  std::unordered_map<std::int32_t, std::uint32_t> counts_;
  std::uint64_t n_observed_ = 0;
};

/// Entropy (nats) and largest probability of softmax(logits).
struct LogitSignals {
  float entropy;
  float confidence;
};
LogitSignals logit_signals(std::span<const float> logits);

/// Signals of all tokens of a sequence so far, by position. A session appends; policies read.
using SignalHistory = std::vector<TokenSignals>;

}  // namespace miser::policy
