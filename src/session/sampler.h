#pragma once
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace miser {

/// Sampling parameters with llama.cpp's names and defaults.
struct SamplingOptions {
  float temperature = 0.8F;     ///< 0: greedy
  int top_k = 40;               ///< 0: all
  float top_p = 0.95F;          ///< 1: off (Holtzman et al. 2020, arXiv 1904.09751)
  float min_p = 0.05F;          ///< 0: off (Nguyen et al. 2024, arXiv 2407.01082)
  float repeat_penalty = 1.0F;  ///< 1: off (Keskar et al. 2019, arXiv 1909.05858)
  int repeat_last_n = 64;       ///< tokens that the penalty looks back on; -1: all
  std::uint64_t seed = 0;
};

/// Draws tokens from logits: penalty, top-k, top-p, min-p, temperature, in that order (llama.cpp's). The same
/// seed and logits give the same tokens on every platform, up to the last bit of its exp().
class Sampler {
 public:
  /// Throws UsageError naming the option when a value is out of range or not a number.
  explicit Sampler(const SamplingOptions& options);
  /// `logits` [n_vocab]; `recent`: tokens so far, newest last; `banned`: ids that are never drawn. Of equal
  /// logits the lowest id comes first. Throws Error when the logits are no numbers.
  std::int32_t sample(std::span<const float> logits, std::span<const std::int32_t> recent,
                      std::span<const std::int32_t> banned = {});

 private:
  struct Candidate {
    std::int32_t id;
    float logit;
  };
  void collect(std::span<const float> logits, std::span<const std::int32_t> recent,
               std::span<const std::int32_t> banned);
  void penalise(std::span<const std::int32_t> recent);
  void keep_top_k();
  void keep_top_p();
  void keep_min_p();
  std::int32_t draw();

  SamplingOptions options_;
  std::mt19937_64 random_;
  std::vector<float> logits_;          ///< [n_vocab] after penalty and ban
  std::vector<Candidate> candidates_;  ///< sorted by falling logit after keep_top_k
};

}  // namespace miser
