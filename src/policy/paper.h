#pragma once
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "policy/plan.h"
#include "policy/policy.h"

namespace miser::policy {

/// The paper's controller (arXiv 2604.04722, section 3): a network on entropy, rarity, attention variance and
/// confidence picks 2, 4, 8 or 16 bits for a token, the same for K and V in all layers.
class Paper final : public Policy {
 public:
  /// REQUIRES: plan->paper. `history` outlives the policy.
  Paper(std::shared_ptr<const Plan> plan, const SignalHistory& history, std::string name)
      : plan_(std::move(plan)), history_(history), name_(std::move(name)) {}
  std::string name() const override { return name_; }
  kv::Centres centres() const override { return {plan_->centre_k, plan_->centre_v}; }
  std::uint64_t plan_fingerprint() const override { return fingerprint(*plan_); }
  bool wants_token_signals() const override { return true; }
  void choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) override;

 private:
  std::shared_ptr<const Plan> plan_;
  const SignalHistory& history_;
  std::string name_;
  std::vector<kv::Width> decided_;  ///< by position: what the lowest layer found, for the others
};

/// The network's outputs for the classes 2, 4, 8 and 16 bits.
std::array<float, 4> paper_outputs(const PaperController& network, const TokenSignals& signals);

/// The width of the largest output.
kv::Width paper_width(const PaperController& network, const TokenSignals& signals);

}  // namespace miser::policy
