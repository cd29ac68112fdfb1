#pragma once
#include <cstddef>
#include <cstdint>
#include <random>
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

}  // namespace miser::test
