#pragma once
#include <string>

#include "policy/policy.h"

namespace miser::policy {

/// The paper's rule-based dynamic baseline (arXiv 2604.04722, section 5): one width of {2, 4, 8, 16} per
/// token, the same for K and V in all layers, by hand-made thresholds on the paper's signals. The paper does
/// not print its rule; this one counts how many of four signs of importance a token shows:
///
///   entropy    H_t > kHighEntropy      what follows is open, so the context decides it
///   confidence C_t < kLowConfidence    the same, seen from the top token
///   rarity     R_t > kHighRarity       a token seldom seen carries more information
///   attention  V_t (t + 1) > kPeaked   the last layer looks at few tokens, not at all of them alike
///
/// none: 2 bits, one: 4, two: 8, more: 16. The thresholds are the upper quartiles (the lower
/// one for confidence) of SmolLM2-135M on 512 tokens of encyclopedic text. V_t is scaled by the number of
/// keys because the variance of a row of n probabilities is at most 1 / n.
class Rule final : public Policy {
 public:
  static constexpr float kHighEntropy = 3.7F;
  static constexpr float kLowConfidence = 0.24F;
  static constexpr float kHighRarity = 5.4F;
  static constexpr float kPeaked = 0.4F;

  /// `history` outlives the policy.
  explicit Rule(const SignalHistory& history) : history_(history) {}
  std::string name() const override { return "rule"; }
  bool wants_token_signals() const override { return true; }
  void choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) override;

  /// The width of the token at `position`.
  static kv::Width width_of(const TokenSignals& signals, std::size_t position);

 private:
  const SignalHistory& history_;
};

}  // namespace miser::policy
