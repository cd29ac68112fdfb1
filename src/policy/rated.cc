#include "policy/rated.h"

#include "kv/demotion.h"
#include "policy/received.h"

namespace miser::policy {

void Rated::choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) {
  policy_.choose(block, widths);
  std::span<const float> ratings = policy_.ratings();
  if (ratings.empty()) {
    received_.resize(2 * block.n_tokens * block.n_kv_heads);
    rate_by_received(block, received_);
    ratings = received_;
  }
  for (std::size_t i = 0; i < block.n_tokens; ++i) {
    for (std::size_t g = 0; g < block.n_kv_heads; ++g) {
      const std::size_t at = g * block.n_tokens + i;
      widths.k_rating[at] = kv::rating_of(ratings[i * block.n_kv_heads + g]);
      widths.v_rating[at] = kv::rating_of(ratings[(block.n_tokens + i) * block.n_kv_heads + g]);
    }
  }
}

}  // namespace miser::policy
