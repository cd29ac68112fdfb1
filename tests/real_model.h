#pragma once
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "session/session.h"

namespace miser::test {

/// The model that `./dev model` fetches. Tests that need it fail when it is missing.
inline std::string smollm2_path() {
  auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  std::string folder = variable("MISER_MODEL_DIR");
  if (folder.empty()) {
    const std::string cache = variable("XDG_CACHE_HOME");
    folder = (cache.empty() ? variable("HOME") + "/.cache" : cache) + "/miser/models";
  }
  return folder + "/SmolLM2-135M-Instruct.Q4_1.gguf";
}

inline std::size_t argmax(std::span<const float> logits) {
  return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// ln softmax(logits)[id], summed in double.
inline double log_probability(std::span<const float> logits, std::size_t id) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - max);
  return logits[id] - max - std::log(sum);
}

}  // namespace miser::test
