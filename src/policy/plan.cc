#include "policy/plan.h"

#include <string_view>

#include "base/hash.h"

namespace miser::policy {
namespace {

void add(const std::vector<float>& numbers, Hash& hash) {
  hash.add_all(std::span(numbers));
}

void add(const LinearController& linear, Hash& hash) {
  for (const std::string_view signal : linear.signals) hash.add_all(std::span(signal));
  for (const auto* const numbers :
       {&linear.rope_frequencies, &linear.mean, &linear.deviation, &linear.bias, &linear.weights})
    add(*numbers, hash);
}

void add(const PaperController& paper, Hash& hash) {
  hash.add_all(std::span<const float>(paper.mean));
  hash.add_all(std::span<const float>(paper.deviation));
  for (const auto* const numbers : {&paper.w1, &paper.b1, &paper.w2, &paper.b2, &paper.w3, &paper.b3})
    add(*numbers, hash);
}

}  // namespace

std::uint64_t fingerprint(const Plan& plan) {
  Hash hash;
  for (const auto& side : plan.error) hash.add_all(std::span<const float>(side));
  hash.add_all(std::span<const float>(plan.stored_bits));
  hash.add_all(std::span(plan.ladder));
  for (const auto* const numbers :
       {&plan.centre_k, &plan.centre_v, &plan.mean_sensitivity, &plan.price_bits, &plan.price_log})
    add(*numbers, hash);
  if (plan.linear) add(*plan.linear, hash);
  if (plan.paper) add(*plan.paper, hash);
  return hash.value();
}

}  // namespace miser::policy
