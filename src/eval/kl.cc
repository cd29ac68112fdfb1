#include "eval/kl.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "eval/kl_sums.h"
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
};

/// `weights` gets exp(logits - max), `max` the largest logit.
Softmax softmax(std::span<const float> logits, float max, std::span<float> weights) {
  std::copy(logits.begin(), logits.end(), weights.begin());
  nn::exp_shifted(weights, max);
  const double sum = sum_of(weights.size(), [&](std::size_t i) { return static_cast<double>(weights[i]); });
  return {sum, static_cast<double>(max) + std::log(sum)};
}

/// KL of nearly equal distributions without cancellation. With d = logits of reference - policy and m its
/// mean under the reference, KL = ln E exp(m - d) = ln(1 + E[exp(x) - 1 - x]), x = m - d, since E x = 0.
double small_kl(const ReferenceRow& reference, std::span<const float> logits, double mean_difference,
                std::span<float> scratch) {
  constexpr std::size_t kBlock = 2048;  // stays in the first cache
  const double shift = mean_difference - static_cast<double>(reference.logits[reference.top]);
  double sum = 0;
  for (std::size_t first = 0; first < logits.size(); first += kBlock) {
    const std::size_t n = std::min(kBlock, logits.size() - first);
    const auto raised = scratch.first(n);  // weights * exp(x), for weights that round to nothing too
    for (std::size_t i = 0; i < n; ++i)
      raised[i] = static_cast<float>(static_cast<double>(logits[first + i]) + shift);
    nn::exp_shifted(raised, 0);
    sum += sum_above_tangent(reference.weights.subspan(first, n), raised, reference.logits.subspan(first, n),
                             logits.subspan(first, n), mean_difference);
  }
  return std::log1p(sum / reference.norm);
}

/// Whether `max`, the largest of `logits`, comes first at `top`.
bool is_first(std::span<const float> logits, float max, std::size_t top) {
  const auto before = logits.first(top);
  return logits[top] == max && std::find(before.begin(), before.end(), max) == before.end();
}

}  // namespace

ReferenceRow reference_row(std::span<const float> logits, std::span<float> weights) {
  assert(logits.size() == weights.size());
  const float max = nn::max_of(logits);
  const auto top = static_cast<std::size_t>(std::find(logits.begin(), logits.end(), max) - logits.begin());
  const Softmax of = softmax(logits, max, weights);
  return {logits, weights, of.sum, 1, of.log_sum, top, true};
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
  const double mean_difference =
      sum_weighted_difference(reference.weights, reference.logits, logits) / reference.norm;
  const float max = nn::max_of(logits);
  constexpr double kSmall = 0.05;  // nats; beyond, 1e-7 of cancellation does not matter
  TokenScore result;
  result.same_top = is_first(logits, max, reference.top);
  result.kl = kSmall;
  if (reference.complete) result.kl = small_kl(reference, logits, mean_difference, scratch);
  double log_sum = result.kl - mean_difference + reference.log_sum;
  if (!(result.kl < kSmall)) {
    log_sum = softmax(logits, max, scratch).log_sum;
    result.kl = mean_difference + (log_sum - reference.log_sum) * reference.weight_sum;
  }
  result.logprob = static_cast<double>(logits[static_cast<std::size_t>(next)]) - log_sum;
  return result;
}

}  // namespace miser::eval
