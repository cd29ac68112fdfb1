#include "policy/width_steps.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

namespace miser::policy {

WidthSteps::WidthSteps(const Plan& plan, std::size_t side) {
  assert(!plan.ladder.empty());
  const auto error = [&](kv::Width width) { return plan.error[side][static_cast<std::size_t>(width)]; };
  std::vector<kv::Width> ladder = plan.ladder;
  const auto cost = [&](kv::Width width) { return plan.stored_bits[static_cast<std::size_t>(width)]; };
  std::sort(ladder.begin(), ladder.end(), [&](kv::Width a, kv::Width b) { return cost(a) < cost(b); });
  for (const kv::Width width : ladder) {
    if (steps_.empty()) {
      steps_.push_back({width, cost(width), -std::numeric_limits<float>::infinity()});
      continue;
    }
    if (!(error(width) < error(steps_.back().width))) continue;
    const auto from = [&](const Step& before) {
      return std::log((cost(width) - before.bits) / (error(before.width) - error(width)));
    };
    // A step that would begin only where this one does already is never the best.
    while (steps_.size() > 1 && from(steps_.back()) <= steps_.back().from) steps_.pop_back();
    steps_.push_back({width, cost(width), from(steps_.back())});
  }
}

}  // namespace miser::policy
