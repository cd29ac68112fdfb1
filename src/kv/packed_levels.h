#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "kv/codec_codebook.h"

namespace miser::kv {

/// Powers of two that bring the levels of a width to the range of int8, so that all widths have about the
/// same unit; scales are divided by them, which is exact.
template <int kBits>
inline constexpr int kLevelGain = kBits == 1   ? 64
                                  : kBits == 2 ? 32
                                               : 1;

/// Levels times their gain, plus kBias, in the order of the codes: int8 without a bias, uint8 with one of
/// 128. Repeated to 64 entries: a look-up may read up to 6 bits of a code, whose upper ones mean nothing.
template <int kBits, int kBias>
constexpr std::array<std::uint8_t, 64> make_level_table() {
  constexpr auto& kMagnitudes = Codebook<kBits>::kMagnitudes;
  constexpr std::size_t kHalf = kMagnitudes.size();
  std::array<std::uint8_t, 64> table{};
  for (std::size_t i = 0; i < table.size(); ++i) {
    const std::size_t code = i % (2 * kHalf);
    const int level = code < kHalf ? -static_cast<int>(kMagnitudes[kHalf - 1 - code])
                                   : static_cast<int>(kMagnitudes[code - kHalf]);
    table[i] = static_cast<std::uint8_t>(level * kLevelGain<kBits> + kBias);
  }
  return table;
}

template <int kBits, int kBias>
inline constexpr std::array<std::uint8_t, 64> kLevelTable = make_level_table<kBits, kBias>();

}  // namespace miser::kv
