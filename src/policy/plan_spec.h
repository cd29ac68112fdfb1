#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "policy/plans.h"
#include "policy/policy.h"

namespace miser::policy {

/// KIND[:FILE][@BITS]: a policy that a plan makes.
struct PlanSpec {
  enum class Kind : std::uint8_t { kLearned, kStatic, kReceived, kPaper };

  Kind kind = Kind::kLearned;
  std::string file;           ///< empty: the model's own plan
  std::optional<float> bits;  ///< budget; none: the plan's

  bool takes_bits() const { return kind != Kind::kPaper; }
  std::string text() const;
};

/// Empty when `spec` begins with no KIND. Throws UsageError when what follows is wrong.
std::optional<PlanSpec> parse_plan_spec(std::string_view spec);

/// Throws Error when the plan cannot be had or lacks what the policy needs, UsageError when it has no widths
/// that meet the budget. `history` outlives the policy.
std::unique_ptr<Policy> make_policy(PlanSpec spec, const Plans& plans, const SignalHistory& history);

}  // namespace miser::policy
