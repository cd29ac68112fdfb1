#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kv/codec.h"
#include "kv/width.h"

namespace miser::kv {

inline constexpr std::size_t kTagBits = 3;

/// Bytes of one bit plane of the tags.
constexpr std::size_t plane_bytes(std::size_t n_tokens) {
  return (n_tokens + 7) / 8;
}

/// Where the groups of a segment lie: offsets in bytes from its start.
struct SegmentLayout {
  SegmentLayout(std::size_t n_tokens, const std::array<std::uint16_t, kWidthCount>& counts,
                std::size_t head_dim) {
    total = kTagBits * plane_bytes(n_tokens);
    for (const Width width : kAllWidths) {
      const auto w = static_cast<std::size_t>(width);
      payload_size[w] = payload_bytes(width, head_dim);
      scales[w] = total;
      payloads[w] = scales[w] + counts[w] * scale_bytes(width);
      total = payloads[w] + counts[w] * payload_size[w];
    }
  }

  std::size_t total = 0;                                ///< size of the segment
  std::array<std::size_t, kWidthCount> scales{};        ///< [count] binary16
  std::array<std::size_t, kWidthCount> payloads{};      ///< [count, payload_size]
  std::array<std::size_t, kWidthCount> payload_size{};  ///< of one vector
};

/// Bit t % 8 of byte t / 8 in plane p is bit p of token t's tag.
inline void set_tag(std::byte* planes, std::size_t n_tokens, std::size_t token, Width width) {
  for (std::size_t p = 0; p < kTagBits; ++p) {
    const unsigned bit = (static_cast<unsigned>(width) >> p) & 1U;
    planes[p * plane_bytes(n_tokens) + token / 8] |= static_cast<std::byte>(bit << (token % 8));
  }
}

inline Width tag(const std::byte* planes, std::size_t n_tokens, std::size_t token) {
  unsigned value = 0;
  for (std::size_t p = 0; p < kTagBits; ++p) {
    const auto byte = std::to_integer<unsigned>(planes[p * plane_bytes(n_tokens) + token / 8]);
    value |= ((byte >> (token % 8)) & 1U) << p;
  }
  return static_cast<Width>(value);
}

/// Bit t of mask w: token 64 * block + t has width w.
inline std::array<std::uint64_t, kWidthCount> token_masks(const std::byte* planes, std::size_t n_tokens,
                                                          std::size_t block) {
  const std::size_t stride = plane_bytes(n_tokens);
  const std::size_t n_bytes = std::min(sizeof(std::uint64_t), stride - 8 * block);
  const std::size_t n = n_tokens - 64 * block;
  const std::uint64_t all = n < 64 ? (std::uint64_t{1} << n) - 1 : ~std::uint64_t{0};
  std::array<std::uint64_t, kTagBits> bit{};
  for (std::size_t p = 0; p < kTagBits; ++p) {
    const std::byte* const from = planes + p * stride + 8 * block;
    if (n_bytes == sizeof(bit[p])) {
      std::memcpy(&bit[p], from, sizeof(bit[p]));  // of a known size: one load, not a call
    } else {
      std::memcpy(&bit[p], from, n_bytes);
    }
  }
  std::array<std::uint64_t, kWidthCount> masks;
  for (std::size_t w = 0; w < kWidthCount; ++w) {
    masks[w] = all;
    for (std::size_t p = 0; p < kTagBits; ++p) masks[w] &= ((w >> p) & 1U) != 0 ? bit[p] : ~bit[p];
  }
  return masks;
}

/// f(token, rank) for each token of `width` in order; rank counts the tokens of this width before it.
template <typename F>
void for_each_token(const std::byte* planes, std::size_t n_tokens, Width width, F&& f) {
  std::size_t rank = 0;
  for (std::size_t first = 0; first < n_tokens; first += 64) {
    std::uint64_t mask = token_masks(planes, n_tokens, first / 64)[static_cast<std::size_t>(width)];
    for (; mask != 0; mask &= mask - 1) f(first + static_cast<std::size_t>(std::countr_zero(mask)), rank++);
  }
}

}  // namespace miser::kv
