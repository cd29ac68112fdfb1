#include "policy/signals.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "nn/ops.h"

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
  const float max = nn::max_of(logits);
  double sum = 0;       // of e^(z - max)
  double weighted = 0;  // of (z - max) e^(z - max)
  std::array<float, 1024> exponentials;
  for (std::size_t first = 0; first < logits.size(); first += exponentials.size()) {
    const auto block = logits.subspan(first, std::min(exponentials.size(), logits.size() - first));
    const auto raised = std::span(exponentials).first(block.size());
    std::copy(block.begin(), block.end(), raised.begin());
    nn::exp_shifted(raised, max);
    for (std::size_t i = 0; i < block.size(); ++i) {
      const double e = raised[i];
      sum += e;
      weighted += (static_cast<double>(block[i]) - static_cast<double>(max)) * e;
    }
  }
  return {static_cast<float>(std::log(sum) - weighted / sum), static_cast<float>(1.0 / sum)};
}

}  // namespace miser::policy
