#pragma once
#include <vector>

#include "policy/policy.h"

namespace miser::policy {

/// Stands before a policy and rates the vectors whose widths it chooses, for a cache with a budget: by what
/// the policy knows of their sensitivity, or else by what their tokens received (rate_by_received()).
class Rated final : public kv::WidthChooser {
 public:
  /// `policy` outlives it.
  explicit Rated(Policy& policy) : policy_(policy) {}

  bool wants_received() const override { return true; }
  bool wants_norms() const override { return true; }
  bool wants_vectors() const override { return policy_.wants_vectors(); }
  void choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) override;

 private:
  Policy& policy_;
  std::vector<float> received_;  ///< ratings of a policy that has none
};

}  // namespace miser::policy
