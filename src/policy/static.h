#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "policy/plan.h"
#include "policy/policy.h"

namespace miser::policy {

/// One width per (layer, KV head, K or V) from the plan's mean sensitivities: those that minimise the sum of
/// sensitivity * error at the budget. To meet any budget exactly, one of them mixes two widths over its
/// tokens in an even pattern.
class Static final : public Policy {
 public:
  /// `budget`: stored bits per element; `name`: see Policy::name().
  Static(std::shared_ptr<const Plan> plan, float budget, std::string name);
  std::string name() const override { return name_; }
  kv::Centres centres() const override { return {plan_->centre_k, plan_->centre_v}; }
  std::uint64_t plan_fingerprint() const override { return fingerprint(*plan_); }
  kv::Width widest() const override;
  void choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) override;

  /// side 0 is K, 1 is V.
  kv::Width width(std::size_t side, std::size_t layer, std::size_t head, std::size_t position) const;

 private:
  /// Widths of one (side, layer, head): of every 1 / share tokens one has `upper`.
  struct Mix {
    kv::Width lower;
    kv::Width upper;
    double share;
  };
  void spend(double budget);

  std::shared_ptr<const Plan> plan_;
  std::string name_;
  std::vector<Mix> mixes_;  ///< [2, n_layers, n_kv_heads]
};

}  // namespace miser::policy
