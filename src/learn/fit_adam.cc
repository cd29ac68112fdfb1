#include "learn/fit_adam.h"

#include <cassert>
#include <cmath>

namespace miser::learn {

void Adam::step(std::span<const float> gradient, double rate) {
  assert(gradient.size() == values_.size());
  constexpr float kFirst = 0.9F;
  constexpr float kSecond = 0.999F;
  constexpr float kEpsilon = 1e-8F;
  const auto t = static_cast<double>(++steps_);
  const auto first_scale = static_cast<float>(rate / (1 - std::pow(static_cast<double>(kFirst), t)));
  const auto second_scale = static_cast<float>(1 / (1 - std::pow(static_cast<double>(kSecond), t)));
  for (std::size_t i = 0; i < values_.size(); ++i) {
    first_[i] = kFirst * first_[i] + (1 - kFirst) * gradient[i];
    second_[i] = kSecond * second_[i] + (1 - kSecond) * gradient[i] * gradient[i];
    values_[i] -= first_scale * first_[i] / (std::sqrt(second_scale * second_[i]) + kEpsilon);
  }
}

}  // namespace miser::learn
