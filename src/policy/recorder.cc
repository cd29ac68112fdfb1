#include "policy/recorder.h"

#include <algorithm>
#include <numeric>

namespace miser::policy {
namespace {

float mean(std::span<const float> x) {
  return std::accumulate(x.begin(), x.end(), 0.0F) / static_cast<float>(x.size());
}

float max(std::span<const float> x) {
  return *std::max_element(x.begin(), x.end());
}

}  // namespace

void Recorder::choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) {
  policy_.choose(block, widths);
  tokens_.resize(std::max(tokens_.size(), block.first_position + block.n_tokens));
  const auto n_layers = static_cast<float>(n_layers_);
  const auto n_vectors = static_cast<float>(2 * block.n_kv_heads * n_layers_);
  for (std::size_t i = 0; i < block.n_tokens; ++i) {
    TokenRecord& token = tokens_[block.first_position + i];
    if (!token.left) token = {.left = true, .bits = 0};
    for (std::size_t head = 0; head < block.n_kv_heads; ++head) {
      const std::size_t at = head * block.n_tokens + i;
      token.bits += static_cast<float>(bits(widths.k[at]) + bits(widths.v[at])) / n_vectors;
    }
    auto of_token = [&](std::span<const float> x) {
      const std::size_t n = x.size() / block.n_tokens;
      return x.subspan(i * n, n);
    };
    token.received += mean(of_token(block.received)) / n_layers;
    token.received_sq += mean(of_token(block.received_sq)) / n_layers;
    token.received_max = std::max(token.received_max, max(of_token(block.received_max)));
    token.k_norm2 += mean(of_token(block.k_norm2)) / n_layers;
    token.v_norm2 += mean(of_token(block.v_norm2)) / n_layers;
  }
}

TokenRecord Recorder::at(std::size_t position) const {
  return position < tokens_.size() ? tokens_[position] : TokenRecord{};
}

}  // namespace miser::policy
