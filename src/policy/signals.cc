#include "policy/signals.h"

#include <algorithm>
#include <cmath>

namespace miser::policy {

float RarityCounter::observe(std::int32_t id) {
  std::uint32_t& count = counts_[id];
  const std::size_t n_distinct = counts_.size() - (count == 0 ? 1 : 0);
  const double inverse_p =
      (static_cast<double>(n_observed_) + static_cast<double>(n_distinct) + 1.0) / (count + 1.0);
  ++count;
  ++n_observed_;
  return static_cast<float>(std::log(inverse_p));
}

LogitSignals logit_signals(std::span<const float> logits) {
  const float max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;       // of e^(z - max)
  double weighted = 0;  // of (z - max) e^(z - max)
  for (const float z : logits) {
    const double shifted = static_cast<double>(z) - max;
    const double e = std::exp(shifted);
    sum += e;
    weighted += shifted * e;
  }
  return {static_cast<float>(std::log(sum) - weighted / sum), static_cast<float>(1.0 / sum)};
}

}  // namespace miser::policy
