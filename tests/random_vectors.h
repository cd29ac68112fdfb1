#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "nn/ops.h"

namespace miser::test {

using Generator = std::mt19937_64;

inline std::vector<float> gaussian(Generator& random, std::size_t n, float deviation) {
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> x(n);
  for (float& value : x) value = normal(random);
  return x;
}

/// Each value becomes the nearest binary16 number.
inline void round_to_half(std::vector<float>& x) {
  std::vector<std::uint16_t> halves(x.size());
  nn::f32_to_f16(x, halves);
  nn::f16_to_f32(halves, x);
}

/// Numbers become whole multiples of their largest magnitude / 32767, as integer products take them
/// (nn/inputs.h).
inline void round_to_levels(std::span<float> x) {
  const float largest = std::abs(*std::ranges::max_element(x, {}, [](float v) { return std::abs(v); }));
  if (largest == 0) return;
  for (float& value : x) value = std::nearbyint(value * (32767 / largest)) * (largest / 32767);
}

}  // namespace miser::test
