#include "policy/paper.h"

#include <algorithm>
#include <span>
#include <vector>

namespace miser::policy {
namespace {

/// weights [outputs, inputs] times x, plus the bias [outputs].
std::vector<float> affine(std::span<const float> weights, std::span<const float> bias,
                          std::span<const float> x) {
  std::vector<float> y(bias.begin(), bias.end());
  for (std::size_t row = 0; row < y.size(); ++row) {
    for (std::size_t i = 0; i < x.size(); ++i) y[row] += weights[row * x.size() + i] * x[i];
  }
  return y;
}

std::vector<float> relu(std::vector<float> x) {
  for (float& value : x) value = std::max(value, 0.0F);
  return x;
}

}  // namespace

std::array<float, 4> paper_outputs(const PaperController& network, const TokenSignals& signals) {
  std::array<float, 4> x = {signals.entropy, signals.rarity, signals.attention_variance, signals.confidence};
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = (x[i] - network.mean[i]) / network.deviation[i];
  const auto first = relu(affine(network.w1, network.b1, x));
  const auto second = relu(affine(network.w2, network.b2, first));
  const auto out = affine(network.w3, network.b3, second);
  return {out[0], out[1], out[2], out[3]};
}

kv::Width paper_width(const PaperController& network, const TokenSignals& signals) {
  constexpr std::array<kv::Width, 4> kClasses = {kv::Width::k2, kv::Width::k4, kv::Width::k8, kv::Width::k16};
  const auto outputs = paper_outputs(network, signals);
  const auto best = std::max_element(outputs.begin(), outputs.end()) - outputs.begin();
  return kClasses[static_cast<std::size_t>(best)];
}

void Paper::choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) {
  decided_.resize(std::max(decided_.size(), block.first_position + block.n_tokens));
  for (std::size_t i = 0; i < block.n_tokens; ++i) {
    kv::Width& width = decided_[block.first_position + i];
    if (block.layer == 0) width = paper_width(*plan_->paper, history_.at(block.first_position + i));
    for (std::size_t head = 0; head < block.n_kv_heads; ++head) {
      widths.k[head * block.n_tokens + i] = width;
      widths.v[head * block.n_tokens + i] = width;
    }
  }
}

}  // namespace miser::policy
