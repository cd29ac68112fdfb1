#include "policy/static.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "policy/width_steps.h"

namespace miser::policy {

Static::Static(std::shared_ptr<const Plan> plan, float budget, std::string name)
    : plan_(std::move(plan)), name_(std::move(name)) {
  spend(budget);
}

// A step up of one (side, layer, head) pays at any price below sensitivity / exp(from). So the steps are
// taken in falling order of that price, until the budget is spent within one.
void Static::spend(double budget) {
  const std::array<WidthSteps, 2> steps = {WidthSteps(*plan_, 0), WidthSteps(*plan_, 1)};
  const std::size_t per_side = plan_->mean_sensitivity.size() / 2;
  struct StepUp {
    float log_price;
    std::size_t slot;
    WidthSteps::Step to;
    float more_bits;
  };
  std::vector<StepUp> all;
  double rest = budget * static_cast<double>(2 * per_side);
  for (std::size_t slot = 0; slot < 2 * per_side; ++slot) {
    const auto of_side = steps[slot / per_side].steps();
    const float log_sensitivity = std::log(plan_->mean_sensitivity[slot]);
    mixes_.push_back({of_side[0].width, of_side[0].width, 0});
    rest -= of_side[0].bits;
    for (std::size_t i = 1; i < of_side.size(); ++i) {
      all.push_back(
          {log_sensitivity - of_side[i].from, slot, of_side[i], of_side[i].bits - of_side[i - 1].bits});
    }
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const StepUp& a, const StepUp& b) { return a.log_price > b.log_price; });
  for (const StepUp& step : all) {
    if (rest <= 0) break;
    Mix& mix = mixes_[step.slot];
    const double share = std::min(1.0, rest / step.more_bits);
    mix = share < 1 ? Mix{mix.lower, step.to.width, share} : Mix{step.to.width, step.to.width, 0};
    rest -= share * step.more_bits;
  }
}

kv::Width Static::width(std::size_t side, std::size_t layer, std::size_t head, std::size_t position) const {
  const PlanModel& model = plan_->model;
  const Mix& mix = mixes_[(side * model.n_layers + layer) * model.n_kv_heads + head];
  const auto at = static_cast<double>(position);
  return std::floor((at + 1) * mix.share) > std::floor(at * mix.share) ? mix.upper : mix.lower;
}

kv::Width Static::widest() const {
  return *std::max_element(plan_->ladder.begin(), plan_->ladder.end());
}

void Static::choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) {
  for (std::size_t head = 0; head < block.n_kv_heads; ++head) {
    for (std::size_t i = 0; i < block.n_tokens; ++i) {
      const std::size_t position = block.first_position + i;
      widths.k[head * block.n_tokens + i] = width(0, block.layer, head, position);
      widths.v[head * block.n_tokens + i] = width(1, block.layer, head, position);
    }
  }
}

}  // namespace miser::policy
