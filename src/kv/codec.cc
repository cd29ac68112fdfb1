#include "kv/codec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstring>

#include "base/divide_up.h"
#include "kv/codec_codebook.h"
#include "kv/segment_tiles.h"

namespace miser::kv {
namespace {

static_assert(std::endian::native == std::endian::little, "payloads are read as little-endian words");

constexpr std::size_t kGroup = 8;  // codes unpacked at a time: `bits` whole bytes

template <int kBits>
void decode_codebook(const std::byte* payload, float scale, std::span<float> out) {
  const auto levels = scaled_levels<kBits>(scale);
  for (std::size_t first = 0; first < out.size(); first += kGroup, payload += kBits) {
    const std::uint64_t codes = load_codes<kBits>(payload);
    const std::size_t n = std::min(kGroup, out.size() - first);
    for (std::size_t i = 0; i < n; ++i) out[first + i] = levels[codes >> (8 * i) & 0xFF];
  }
}

void decode_int8(const std::byte* payload, float scale, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(std::to_integer<std::int8_t>(payload[i])) * scale;
  }
}

}  // namespace

std::size_t payload_bytes(Width width, std::size_t head_dim) {
  if (width == Width::k16) return head_dim * sizeof(std::uint16_t);
  return divide_up(head_dim, kGroup) * bits(width);
}

std::size_t scale_bytes(Width width) {
  return width == Width::k16 ? 0 : sizeof(std::uint16_t);
}

void decode(Width width, std::span<const std::byte> payload, float scale, std::span<float> out) {
  assert(payload.size() == payload_bytes(width, out.size()));
  switch (width) {
    case Width::k1:
      return decode_codebook<1>(payload.data(), scale, out);
    case Width::k2:
      return decode_codebook<2>(payload.data(), scale, out);
    case Width::k3:
      return decode_codebook<3>(payload.data(), scale, out);
    case Width::k4:
      return decode_codebook<4>(payload.data(), scale, out);
    case Width::k8:
      return decode_int8(payload.data(), scale, out);
    case Width::k16:
      break;
  }
  assert(false);
}

float score_correction(Width width, ScaleRule rule) {
  // Measured by tests/reference/codec_reference.py, head_dim 64; docs/codecs.md derives the limit of long
  // heads.
  constexpr std::array<float, kWidthCount> kCorrection = {0.1790F, 0.2005F, 50.82F, 8.905F, 0, 0};
  return rule == ScaleRule::kUnbiased ? kCorrection[static_cast<std::size_t>(width)] : 0;
}

}  // namespace miser::kv
