#include "policy/rule.h"

#include <algorithm>
#include <array>

namespace miser::policy {

kv::Width Rule::width_of(const TokenSignals& signals, std::size_t position) {
  constexpr std::array<kv::Width, 4> kLadder = {kv::Width::k2, kv::Width::k4, kv::Width::k8, kv::Width::k16};
  const float peakedness = signals.attention_variance * static_cast<float>(position + 1);
  const int signs = static_cast<int>(signals.entropy > kHighEntropy) +
                    static_cast<int>(signals.confidence < kLowConfidence) +
                    static_cast<int>(signals.rarity > kHighRarity) + static_cast<int>(peakedness > kPeaked);
  return kLadder[static_cast<std::size_t>(std::min(signs, 3))];
}

void Rule::choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) {
  for (std::size_t i = 0; i < block.n_tokens; ++i) {
    const std::size_t position = block.first_position + i;
    const kv::Width width = width_of(history_.at(position), position);
    for (std::size_t head = 0; head < block.n_kv_heads; ++head) {
      widths.k[head * block.n_tokens + i] = width;
      widths.v[head * block.n_tokens + i] = width;
    }
  }
}

}  // namespace miser::policy
