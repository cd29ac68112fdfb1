#include "session/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace miser {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// Also false for NaN.
bool within(float value, float low, float high) {
  return value >= low && value <= high;
}

void check(const SamplingOptions& options) {
  constexpr float kMax = std::numeric_limits<float>::max();
  if (!within(options.temperature, 0, kMax)) {
    fail_usage("--temp is {}, expected a number from 0", options.temperature);
  }
  if (options.top_k < 0) fail_usage("--top-k is {}, expected a number from 0 (0 keeps all)", options.top_k);
  if (!within(options.top_p, 0, 1)) fail_usage("--top-p is {}, expected 0 to 1", options.top_p);
  if (!within(options.min_p, 0, 1)) fail_usage("--min-p is {}, expected 0 to 1", options.min_p);
  if (!within(options.repeat_penalty, std::numeric_limits<float>::min(), kMax)) {
    fail_usage("--repeat-penalty is {}, expected a number above 0", options.repeat_penalty);
  }
  if (options.repeat_last_n < -1) {
    fail_usage("--repeat-last-n is {}, expected a number from -1 (-1 looks at all)", options.repeat_last_n);
  }
}

}  // namespace

Sampler::Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {
  check(options);
}

std::int32_t Sampler::sample(std::span<const float> logits, std::span<const std::int32_t> recent,
                             std::span<const std::int32_t> banned) {
  collect(logits, recent, banned);
  if (options_.temperature == 0) {
    return static_cast<std::int32_t>(std::max_element(logits_.begin(), logits_.end()) - logits_.begin());
  }
  keep_top_k();
  keep_top_p();
  keep_min_p();
  return draw();
}

void Sampler::collect(std::span<const float> logits, std::span<const std::int32_t> recent,
                      std::span<const std::int32_t> banned) {
  logits_.assign(logits.begin(), logits.end());
  penalise(recent);
  for (const std::int32_t id : banned) logits_[static_cast<std::size_t>(id)] = kNever;
  float best = kNever;
  bool number = true;
  for (const float logit : logits_) {
    number = number && !std::isnan(logit);
    best = std::max(best, logit);
  }
  if (!number || !std::isfinite(best))
    fail("the model's logits are not finite numbers: its weights are damaged");
}

void Sampler::penalise(std::span<const std::int32_t> recent) {
  if (options_.repeat_penalty == 1) return;
  const auto last_n = static_cast<std::size_t>(options_.repeat_last_n);  // -1 becomes the largest number
  std::vector<std::int32_t> ids(recent.end() - static_cast<std::ptrdiff_t>(std::min(last_n, recent.size())),
                                recent.end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  for (const std::int32_t id : ids) {
    // Dividing a negative logit would favour it (llama.cpp's amendment of the paper's formula).
    float& logit = logits_[static_cast<std::size_t>(id)];
    logit = logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
  }
}

void Sampler::keep_top_k() {
  candidates_.clear();
  for (std::size_t id = 0; id < logits_.size(); ++id) {
    if (logits_[id] != kNever) candidates_.push_back({static_cast<std::int32_t>(id), logits_[id]});
  }
  const std::size_t k = options_.top_k == 0
                            ? candidates_.size()
                            : std::min(candidates_.size(), static_cast<std::size_t>(options_.top_k));
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(k),
                    candidates_.end(), [](const Candidate& a, const Candidate& b) {
                      return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
                    });
  candidates_.resize(k);
}

// The shortest head of the list whose probabilities, at temperature 1, sum to top_p.
void Sampler::keep_top_p() {
  if (options_.top_p >= 1) return;
  double total = 0;
  for (const Candidate& c : candidates_) total += std::exp(double{c.logit} - candidates_[0].logit);
  double sum = 0;
  std::size_t n = 0;
  do {
    sum += std::exp(double{candidates_[n].logit} - candidates_[0].logit);
    ++n;
  } while (n < candidates_.size() && sum < options_.top_p * total);
  candidates_.resize(n);
}

// Those at least min_p times as likely as the first.
void Sampler::keep_min_p() {
  if (options_.min_p <= 0) return;
  const double least = candidates_[0].logit + std::log(double{options_.min_p});
  const auto unlikely = std::find_if(candidates_.begin() + 1, candidates_.end(),
                                     [least](const Candidate& c) { return c.logit < least; });
  candidates_.erase(unlikely, candidates_.end());
}

// By hand, because the results of std::discrete_distribution and its kind differ between libraries.
std::int32_t Sampler::draw() {
  const auto weight = [this](const Candidate& c) {
    return std::exp((double{c.logit} - candidates_[0].logit) / options_.temperature);
  };
  double total = 0;
  for (const Candidate& c : candidates_) total += weight(c);
  const double uniform = static_cast<double>(random_() >> 11U) * 0x1p-53;  // [0, 1) with 53 random bits
  double rest = uniform * total;
  for (const Candidate& c : candidates_) {
    rest -= weight(c);
    if (rest < 0) return c.id;
  }
  return candidates_[0].id;  // only when rounding ate the last weight
}

}  // namespace miser
