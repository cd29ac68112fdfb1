#pragma once
#include <bit>
#include <cstdint>

namespace miser::gguf {

/// IEEE 754 binary16 bits to float; exact, as every half is a float. NaN payloads are kept.
inline float half_to_float(std::uint16_t half) {
  constexpr float kSubnormalUnit = 0x1p-24F;
  constexpr std::uint32_t kRebias = (127 - 15) << 23;
  const std::uint32_t sign = (half & 0x8000U) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1FU;
  const std::uint32_t fraction = half & 0x3FFU;
  if (exponent == 0) {
    const auto magnitude = std::bit_cast<std::uint32_t>(static_cast<float>(fraction) * kSubnormalUnit);
    return std::bit_cast<float>(sign | magnitude);
  }
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000U | (fraction << 13));
  return std::bit_cast<float>(sign | (((exponent << 23) | (fraction << 13)) + kRebias));
}

}  // namespace miser::gguf
