#pragma once
#include <span>
#include <vector>

#include "kv/width.h"
#include "policy/plan.h"

namespace miser::policy {

/// The widths of a plan's ladder that are worth choosing for one side, cheapest first: the lower convex hull
/// of (stored bits, error). The width that minimises sensitivity * error + price * bits is then a function of
/// ln(sensitivity / price) alone: the last step whose `from` lies below it.
class WidthSteps {
 public:
  struct Step {
    kv::Width width;
    float bits;  ///< stored, per element
    float from;  ///< ln(sensitivity / price) at which it beats the step before; -infinity of the first
  };

  /// `side` 0 is K, 1 is V.
  WidthSteps(const Plan& plan, std::size_t side);

  /// Of two that cost the same, the one of fewer bits.
  const Step& at(float log_ratio) const {
    std::size_t i = steps_.size() - 1;
    while (i > 0 && !(log_ratio > steps_[i].from)) --i;
    return steps_[i];
  }
  std::span<const Step> steps() const { return steps_; }

 private:
  std::vector<Step> steps_;
};

}  // namespace miser::policy
