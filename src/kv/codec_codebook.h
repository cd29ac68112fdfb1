#pragma once
#include <array>
#include <cstddef>

namespace miser::kv {

/// Levels of a symmetric codebook with 2^kBits levels, as magnitudes in ascending order: code 2^(kBits-1) + i
/// stands for +kMagnitudes[i], code 2^(kBits-1) - 1 - i for the negative, so that codes ascend with the
/// value. kScalePerRms is the best scale of a long Gaussian vector with rms 1, where the search begins.
/// docs/codecs.md says where the levels come from.
template <int kBits>
struct Codebook;

template <>
struct Codebook<1> {
  static constexpr std::array<float, 1> kMagnitudes = {1};
  static constexpr float kScalePerRms = 0.798F;  // E|x|
};
template <>
struct Codebook<2> {
  static constexpr std::array<float, 2> kMagnitudes = {1, 3};
  static constexpr float kScalePerRms = 0.51F;
};
template <>
struct Codebook<3> {
  static constexpr std::array<float, 4> kMagnitudes = {14, 45, 79, 127};
  static constexpr float kScalePerRms = 2.152F / 127;
};
template <>
struct Codebook<4> {
  static constexpr std::array<float, 8> kMagnitudes = {6, 18, 31, 44, 58, 75, 96, 127};
  static constexpr float kScalePerRms = 2.733F / 127;
};

/// All levels in the order of their codes, times `scale`.
template <int kBits>
std::array<float, std::size_t{1} << kBits> scaled_levels(float scale) {
  constexpr auto& kMagnitudes = Codebook<kBits>::kMagnitudes;
  constexpr std::size_t kHalf = kMagnitudes.size();
  std::array<float, 2 * kHalf> levels;
  for (std::size_t i = 0; i < kHalf; ++i) {
    levels[kHalf + i] = kMagnitudes[i] * scale;
    levels[kHalf - 1 - i] = -kMagnitudes[i] * scale;
  }
  return levels;
}

}  // namespace miser::kv
