#include "policy/learned.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace miser::policy {
namespace {

/// Sum in 8 lanes, which the compiler turns into vector instructions.
float dot(const float* a, const float* b, std::size_t n) {
  constexpr std::size_t kLanes = 8;
  std::array<float, kLanes> lanes{};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += a[i + lane] * b[i + lane];
  }
  float sum = 0;
  for (; i < n; ++i) sum += a[i] * b[i];
  for (const float lane : lanes) sum += lane;
  return sum;
}

}  // namespace

Learned::Learned(const std::shared_ptr<const Plan>& plan, float budget, std::string name)
    : Priced(plan, budget, price_of(*plan, budget), std::move(name)),
      signals_(plan->linear->signals, plan->model.n_heads / plan->model.n_kv_heads, plan->model.head_dim),
      unturned_(plan->linear->rope_frequencies) {}

void Learned::rate(const kv::LeavingBlock& block, std::span<float> out) {
  SignalSource source;
  source.n = block.n_tokens;
  source.n_heads = block.n_heads;
  source.n_kv_heads = block.n_kv_heads;
  source.head_dim = block.head_dim;
  source.first_position = block.first_position;
  source.received = block.received;
  source.received_sq = block.received_sq;
  source.received_max = block.received_max;
  source.k_norm2 = block.k_norm2;
  source.v_norm2 = block.v_norm2;
  if (signals_.wants_vectors()) {
    keys_.assign(block.k.begin(), block.k.end());
    unturned_.turn_back(keys_, block.n_kv_heads, block.head_dim, block.first_turn);
  }
  source.k = keys_;
  source.v = block.v;
  if (signals_.wants("received_below")) read_below(block, source);
  source.received_below = block_below_;
  columns_.resize(block.n_tokens * block.n_kv_heads * signals_.columns());
  signals_.compute(source, columns_);
  predict(block, out);
}

// All blocks of a chunk pass one layer before the first of them passes the next.
void Learned::read_below(const kv::LeavingBlock& block, const SignalSource& source) {
  assert(block.n_tokens + Price::kPeriod <= kRemembered);
  block_layer_.resize(block.n_tokens);
  block_below_.resize(block.n_tokens);
  mean_log_received(source, block_layer_);
  for (std::size_t i = 0; i < block.n_tokens; ++i) {
    float& remembered = below_[(block.first_position + i) % kRemembered];
    block_below_[i] = block.layer == 0 ? block_layer_[i] : remembered;
    remembered = block_layer_[i];
  }
}

void Learned::predict(const kv::LeavingBlock& block, std::span<float> out) const {
  constexpr float kClip = 6;  // deviations
  const LinearController& linear = *plan().linear;
  const std::size_t n_columns = signals_.columns();
  const std::size_t n_kv_heads = block.n_kv_heads;
  const std::size_t n_functions = plan().model.n_layers * n_kv_heads;
  std::vector<float> z(n_columns);
  for (std::size_t head = 0; head < n_kv_heads; ++head) {
    const std::size_t function = block.layer * n_kv_heads + head;
    const float* mean = linear.mean.data() + function * n_columns;
    const float* deviation = linear.deviation.data() + function * n_columns;
    for (std::size_t i = 0; i < block.n_tokens; ++i) {
      const float* x = columns_.data() + (i * n_kv_heads + head) * n_columns;
      for (std::size_t c = 0; c < n_columns; ++c) {
        z[c] = std::clamp((x[c] - mean[c]) / deviation[c], -kClip, kClip);
      }
      for (std::size_t side = 0; side < 2; ++side) {
        const std::size_t f = side * n_functions + function;
        out[(side * block.n_tokens + i) * n_kv_heads + head] =
            linear.bias[f] + dot(linear.weights.data() + f * n_columns, z.data(), n_columns);
      }
    }
  }
}

void Learned::copy_state(const Policy& other) {
  Priced::copy_state(other);
  below_ = dynamic_cast<const Learned&>(other).below_;
}

}  // namespace miser::policy
