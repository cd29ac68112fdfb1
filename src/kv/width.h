#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace miser::kv {

/// Bits per element of a cached vector; 16 is IEEE binary16. The order is that of the width tag.
enum class Width : std::uint8_t { k1, k2, k3, k4, k8, k16 };

inline constexpr std::size_t kWidthCount = 6;
inline constexpr std::array<Width, kWidthCount> kAllWidths = {Width::k1, Width::k2, Width::k3,
                                                              Width::k4, Width::k8, Width::k16};

constexpr int bits(Width width) {
  constexpr std::array<int, kWidthCount> kBits = {1, 2, 3, 4, 8, 16};
  return kBits[static_cast<std::size_t>(width)];
}

}  // namespace miser::kv
