#include "policy/received.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace miser::policy {

void rate_by_received(const kv::LeavingBlock& block, std::span<float> out) {
  constexpr float kFloor = 1e-10F;
  const std::size_t group = block.n_heads / block.n_kv_heads;
  const std::size_t n = block.n_tokens * block.n_kv_heads;
  for (std::size_t at = 0; at < n; ++at) {  // [n_tokens, n_kv_heads]
    const auto of_group = block.received.subspan(at * group, group);
    const float sum = std::accumulate(of_group.begin(), of_group.end(), 0.0F);
    const float received = std::log(std::max(sum, kFloor));
    out[at] = received + std::log(std::max(block.k_norm2[at], kFloor));
    out[n + at] = received + std::log(std::max(block.v_norm2[at], kFloor));
  }
}

}  // namespace miser::policy
