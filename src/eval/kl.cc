#include "eval/kl.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "nn/ops.h"

namespace miser::eval {
namespace {

/// Sum of term(i) for i < n in eight chains, which compilers turn into vectors.
template <class F>
double sum_of(std::size_t n, F&& term) {
  constexpr std::size_t kChains = 8;
  std::array<double, kChains> sums{};
  std::size_t i = 0;
  for (; i + kChains <= n; i += kChains) {
    for (std::size_t j = 0; j < kChains; ++j) sums[j] += term(i + j);
  }
  double total = 0;
  for (; i < n; ++i) total += term(i);
  for (const double sum : sums) total += sum;
  return total;
}

struct Softmax {
  double sum;      ///< of the exponentials
  double log_sum;  ///< ln sum exp(logits)
  std::size_t top;
};

/// `weights` gets exp(logits - largest logit).
Softmax softmax(std::span<const float> logits, std::span<float> weights) {
  const float max = nn::max_of(logits);
  std::copy(logits.begin(), logits.end(), weights.begin());
  nn::exp_shifted(weights, max);
  const double sum = sum_of(weights.size(), [&](std::size_t i) { return static_cast<double>(weights[i]); });
  const auto top = static_cast<std::size_t>(std::find(logits.begin(), logits.end(), max) - logits.begin());
  return {sum, static_cast<double>(max) + std::log(sum), top};
}

/// exp(x) - 1 - x, which is never negative, where `exp_x` is exp(x) rounded to float.
double exp_above_tangent(double x, double exp_x) {
  constexpr double kSeries = 0.25;  // the series is right to 4e-7 here, the difference to 2e-6 beyond
  const double series = x * x * (1.0 / 2 + x * (1.0 / 6 + x * (1.0 / 24 + x * (1.0 / 120 + x / 720))));
  return std::abs(x) < kSeries ? series : exp_x - 1 - x;
}

/// KL of nearly equal distributions without cancellation. With d = logits of reference - policy and m its
/// mean under the reference, KL = ln E exp(m - d) = ln(1 + E[exp(x) - 1 - x]), x = m - d, since E x = 0.
double small_kl(const ReferenceRow& reference, std::span<const float> logits, double mean_difference,
                std::span<float> scratch) {
  const auto shifted = [&](std::size_t i) {
    return mean_difference - (static_cast<double>(reference.logits[i]) - static_cast<double>(logits[i]));
  };
  for (std::size_t i = 0; i < logits.size(); ++i) scratch[i] = static_cast<float>(shifted(i));
  nn::exp_shifted(scratch, 0);
  const double sum = sum_of(logits.size(), [&](std::size_t i) {
    const double weight = reference.weights[i];
    return weight == 0 ? 0.0 : weight * exp_above_tangent(shifted(i), scratch[i]);
  });
  return std::log1p(sum / reference.norm);
}

}  // namespace

ReferenceRow reference_row(std::span<const float> logits, std::span<float> weights) {
  assert(logits.size() == weights.size());
  const Softmax of = softmax(logits, weights);
  return {logits, weights, of.sum, 1, of.log_sum, of.top, true};
}

ReferenceRow partial_reference_row(std::span<const float> log_probs, float floor, std::span<float> weights) {
  assert(log_probs.size() == weights.size());
  std::copy(log_probs.begin(), log_probs.end(), weights.begin());
  nn::exp_shifted(weights, 0);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (log_probs[i] <= floor) weights[i] = 0;
  }
  const double sum = sum_of(weights.size(), [&](std::size_t i) { return static_cast<double>(weights[i]); });
  const auto top = std::max_element(log_probs.begin(), log_probs.end()) - log_probs.begin();
  return {log_probs, weights, 1, sum, 0, static_cast<std::size_t>(top), false};
}

TokenScore score(const ReferenceRow& reference, std::span<const float> logits, std::int32_t next,
                 std::span<float> scratch) {
  assert(logits.size() == reference.logits.size() && logits.size() == scratch.size());
  const Softmax policy = softmax(logits, scratch);
  const double mean_difference = sum_of(logits.size(),
                                        [&](std::size_t i) {
                                          const double difference = static_cast<double>(reference.logits[i]) -
                                                                    static_cast<double>(logits[i]);
                                          return static_cast<double>(reference.weights[i]) * difference;
                                        }) /
                                 reference.norm;
  TokenScore result;
  result.kl = mean_difference + (policy.log_sum - reference.log_sum) * reference.weight_sum;
  constexpr double kSmall = 0.05;  // nats; beyond, 1e-7 of cancellation does not matter
  if (reference.complete && result.kl < kSmall) {
    result.kl = small_kl(reference, logits, mean_difference, scratch);
  }
  result.logprob = static_cast<double>(logits[static_cast<std::size_t>(next)]) - policy.log_sum;
  result.same_top = policy.top == reference.top;
  return result;
}

}  // namespace miser::eval
