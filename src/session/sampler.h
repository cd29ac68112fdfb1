#pragma once
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace miser {

/// Sampling parameters with llama.cpp's names; the defaults are llama.cpp's where it has one.
struct SamplingOptions {
  float temperature = 0.8F;        ///< 0: greedy
  int top_k = 40;                  ///< 0: all
  float top_p = 0.95F;             ///< 1: off
  float min_p = 0.05F;             ///< 0: off
  float repeat_penalty = 1.0F;     ///< 1: off (Keskar et al. 2019)
  int repeat_last_n = 64;          ///< tokens that the penalty looks back on
  std::uint64_t seed = 0;
};

/// Draws tokens from logits: penalty, top-k, top-p, min-p, temperature, in that order (llama.cpp's). The same
/// seed and logits give the same tokens on every platform.
class Sampler {
 public:
  /// Throws UsageError naming the option when a value is out of range or not a number.
  explicit Sampler(const SamplingOptions& options);
  /// `recent`: tokens so far, newest last.
  std::int32_t sample(std::span<const float> logits, std::span<const std::int32_t> recent);

 private:
  struct Candidate {
    std::int32_t id;
    float logit;
  };
  SamplingOptions options_;
  std::mt19937_64 random_;
  std::vector<Candidate> candidates_;
};

}  // namespace miser
