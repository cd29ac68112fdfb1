#pragma once
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "kv/codec.h"
#include "policy/features.h"
#include "policy/plan.h"

namespace miser::test {

/// Stored bits per element of each width: codes, scale and tag.
inline std::array<float, kv::kWidthCount> stored_bits(std::size_t head_dim) {
  std::array<float, kv::kWidthCount> bits{};
  for (const kv::Width width : kv::kAllWidths) {
    const auto bytes = static_cast<float>(kv::payload_bytes(width, head_dim) + kv::scale_bytes(width));
    bits[static_cast<std::size_t>(width)] = (8 * bytes + 3) / static_cast<float>(head_dim);
  }
  return bits;
}

inline const std::vector<std::string>& all_signals() {
  static const std::vector<std::string> names = {
      "received",       "received_sq",    "received_max",   "k_norm2", "v_norm2", "position",
      "received_layer", "received_below", "received_heads", "k",       "v"};
  return names;
}

/// A random plan for any model of this shape: sensible errors, a controller of all signals that follows
/// received attention and norms and adds noise, random centres near zero, a random paper's network. Its
/// price curve fits no text.
inline policy::Plan tiny_plan(const policy::PlanModel& model, std::uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  const auto normal = [&](std::size_t n, float deviation) {
    std::normal_distribution<float> draw(0, deviation);
    std::vector<float> out(n);
    for (float& x : out) x = draw(random);
    return out;
  };
  policy::Plan plan;
  plan.model = model;
  plan.error[0] = {0.36F, 0.114F, 0.0325F, 0.0089F, 3.5e-5F, 1e-7F};
  plan.error[1] = {0.35F, 0.11F, 0.03F, 0.0085F, 3.3e-5F, 1e-7F};
  plan.stored_bits = stored_bits(model.head_dim);
  plan.ladder.assign(kv::kAllWidths.begin(), kv::kAllWidths.end());
  const std::size_t heads = model.n_layers * model.n_kv_heads;
  plan.centre_k = normal(heads * model.head_dim, 0.05F);
  plan.centre_v = normal(heads * model.head_dim, 0.05F);
  for (const float x : normal(2 * heads, 1.5F)) plan.mean_sensitivity.push_back(std::exp(x - 8));

  policy::LinearController& linear = plan.linear.emplace();
  linear.signals = all_signals();
  linear.rope_frequencies = {1, 0.25F};
  const std::size_t n =
      policy::SignalSet(linear.signals, model.n_heads / model.n_kv_heads, model.head_dim).columns();
  linear.mean = normal(heads * n, 0.1F);
  linear.deviation.assign(heads * n, 1);
  linear.bias = normal(2 * heads, 1.5F);
  for (float& bias : linear.bias) bias -= 8;
  linear.weights = normal(2 * heads * n, 0.05F);
  for (std::size_t f = 0; f < 2 * heads; ++f) {
    linear.weights[f * n] += 0.8F;                        // received
    linear.weights[f * n + (f < heads ? 3 : 4)] += 0.5F;  // the norm of its side
  }
  plan.price_bits = {1.5F, 2, 3, 4, 8};
  plan.price_log = {-4, -6, -8, -9.5F, -14};

  policy::PaperController& paper = plan.paper.emplace();
  paper.mean = {2, 3, 0.01F, 0.5F};
  paper.deviation = {1, 2, 0.02F, 0.3F};
  paper.w1 = normal(std::size_t{4} * 128, 0.5F);
  paper.b1 = normal(128, 0.1F);
  paper.w2 = normal(std::size_t{128} * 128, 0.1F);
  paper.b2 = normal(128, 0.1F);
  paper.w3 = normal(std::size_t{128} * 4, 0.1F);
  paper.b3 = normal(4, 0.1F);
  plan.text_hash = seed;
  plan.results = R"({"kl": 0.5})";
  return plan;
}

/// A plan that a model of 2 layers, 4 heads and 2 KV heads of 8 could have.
inline policy::Plan tiny_plan() {
  return tiny_plan({"tiny", 0x0123456789ABCDEFU, 2, 4, 2, 8});
}

}  // namespace miser::test
