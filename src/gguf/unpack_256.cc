// Formats with super-blocks of 256 elements and scales of their own for every 16 or 32 elements.
#include "gguf/load.h"
#include "gguf/unpack.h"

namespace miser::gguf {
namespace {

/// Stores `scale * code(i) - minimum` for i = 0 .. n - 1.
template <int n, typename Code>
void unpack_affine(float scale, float minimum, float* out, Code code) {
  for (int i = 0; i < n; ++i) out[i] = scale * static_cast<float>(code(i)) - minimum;
}

/// Stores `scale * code(i)` for i = 0 .. n - 1.
template <int n, typename Code>
void unpack_scaled(float scale, float* out, Code code) {
  for (int i = 0; i < n; ++i) out[i] = scale * static_cast<float>(code(i));
}

/// Where the 2-bit codes of the 16 elements of group g lie: bytes first .. first + 15, shifted right.
struct TwoBitGroup {
  int first;
  int shift;
};

/// 64 bytes hold two halves of 128 elements; byte j of a half holds elements j, j + 32, j + 64, j + 96.
TwoBitGroup two_bit_group(int g) {
  return {.first = (g / 8) * 32 + (g % 2) * 16, .shift = 2 * ((g % 8) / 2)};
}

struct ScaleAndMinimum {
  int scale;
  int minimum;
};

/// The 6-bit scale and minimum of group g of 8, from the 12 bytes that Q4_K and Q5_K share: bytes 0-3 hold
/// scales 0-3, bytes 4-7 minima 0-3, bytes 8-11 low nibbles of the others, whose top bits sit above the
/// first.
ScaleAndMinimum scale_and_minimum(const std::uint8_t* s, int g) {
  if (g < 4) return {.scale = s[g] & 63, .minimum = s[g + 4] & 63};
  return {.scale = (s[g + 4] & 0xF) | ((s[g - 4] >> 2) & 0x30),
          .minimum = (s[g + 4] >> 4) | ((s[g] >> 2) & 0x30)};
}

/// Signed 6-bit scale of group g of 16 from the 12 bytes of Q3_K: low nibbles in bytes 0-7, top bits in 8-11.
int q3_k_scale(const std::uint8_t* s, int g) {
  const int low = (s[g % 8] >> (4 * (g / 8))) & 0xF;
  const int high = (s[8 + g % 4] >> (2 * (g / 4))) & 3;
  return (low | (high << 4)) - 32;
}

}  // namespace

// Block: scales[16] (low nibble scale, high nibble minimum), codes[64], half d, half dmin.
void unpack_q2_k(const std::uint8_t* block, float* out) {
  const float d = load_half(block + 80);
  const float dmin = load_half(block + 82);
  for (int g = 0; g < 16; ++g) {
    const auto [first, shift] = two_bit_group(g);
    const std::uint8_t* q = block + 16 + first;
    const float scale = d * static_cast<float>(block[g] & 0xF);
    const float minimum = dmin * static_cast<float>(block[g] >> 4);
    unpack_affine<16>(scale, minimum, out + 16 * g, [q, s = shift](int i) { return (q[i] >> s) & 3; });
  }
}

// Block: high bits[32], codes[64], scales[12], half d. A high bit of 0 takes 4 off the code.
void unpack_q3_k(const std::uint8_t* block, float* out) {
  const float d = load_half(block + 108);
  for (int g = 0; g < 16; ++g) {
    const auto [first, shift] = two_bit_group(g);
    const std::uint8_t* q = block + 32 + first;
    const std::uint8_t* high = block + (g % 2) * 16;
    const float scale = d * static_cast<float>(q3_k_scale(block + 96, g));
    unpack_scaled<16>(scale, out + 16 * g, [q, s = shift, high, bit = g / 2](int i) {
      return ((q[i] >> s) & 3) - (((high[i] >> bit) & 1) != 0 ? 0 : 4);
    });
  }
}

// Block: half d, half dmin, scales[12], codes[128]. 32 bytes hold two groups: low and high nibbles.
void unpack_q4_k(const std::uint8_t* block, float* out) {
  const float d = load_half(block);
  const float dmin = load_half(block + 2);
  for (int g = 0; g < 8; ++g) {
    const auto [s, m] = scale_and_minimum(block + 4, g);
    const std::uint8_t* q = block + 16 + 32 * (g / 2);
    const int shift = 4 * (g % 2);
    unpack_affine<32>(d * static_cast<float>(s), dmin * static_cast<float>(m), out + 32 * g,
                      [q, shift](int i) { return (q[i] >> shift) & 0xF; });
  }
}

// Block: half d, half dmin, scales[12], high bits[32], codes[128]. Bit g of high byte i is of element 32 g +
// i.
void unpack_q5_k(const std::uint8_t* block, float* out) {
  const float d = load_half(block);
  const float dmin = load_half(block + 2);
  const std::uint8_t* high = block + 16;
  for (int g = 0; g < 8; ++g) {
    const auto [s, m] = scale_and_minimum(block + 4, g);
    const std::uint8_t* q = block + 48 + 32 * (g / 2);
    const int shift = 4 * (g % 2);
    unpack_affine<32>(
        d * static_cast<float>(s), dmin * static_cast<float>(m), out + 32 * g,
        [q, shift, high, g](int i) { return ((q[i] >> shift) & 0xF) | (((high[i] >> g) & 1) << 4); });
  }
}

// Block: low nibbles[128], high bit pairs[64], int8 scales[16], half d. x = d scale (q - 32).
void unpack_q6_k(const std::uint8_t* block, float* out) {
  const float d = load_half(block + 208);
  for (int g = 0; g < 16; ++g) {
    const std::uint8_t* low = block + 64 * (g / 8) + 16 * (g % 4);
    const int low_shift = 4 * ((g % 8) / 4);
    const auto [first, high_shift] = two_bit_group(g);
    const std::uint8_t* high = block + 128 + first;
    const float scale = d * static_cast<float>(load<std::int8_t>(block + 192 + g));
    unpack_scaled<16>(scale, out + 16 * g, [low, low_shift, high, s = high_shift](int i) {
      return (((low[i] >> low_shift) & 0xF) | (((high[i] >> s) & 3) << 4)) - 32;
    });
  }
}

// Block: half d, 16 bits of scale tops, scale nibbles[4], codes[128]. x = d (scale - 32) level[q].
void unpack_iq4_xs(const std::uint8_t* block, float* out) {
  const float d = load_half(block);
  const int tops = load<std::uint16_t>(block + 2);
  for (int g = 0; g < 8; ++g) {
    const int low = (block[4 + g / 2] >> (4 * (g % 2))) & 0xF;
    const int high = (tops >> (2 * g)) & 3;
    const float scale = d * static_cast<float>((low | (high << 4)) - 32);
    const std::uint8_t* q = block + 8 + 16 * g;
    unpack_scaled<16>(scale, out + 32 * g, [q](int i) { return kNonlinearLevels[q[i] & 0xF]; });
    unpack_scaled<16>(scale, out + 32 * g + 16, [q](int i) { return kNonlinearLevels[q[i] >> 4]; });
  }
}

}  // namespace miser::gguf
