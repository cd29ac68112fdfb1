// Formats with blocks of 32 elements. Byte i of the 4-bit codes holds elements i (low nibble) and i + 16.
#include "gguf/load.h"
#include "gguf/unpack.h"

namespace miser::gguf {
namespace {

constexpr int kHalfBlock = 16;

/// Calls `decode(nibble, element)` for the 32 codes of `q` and stores what it returns.
template <typename Decode>
void unpack_nibbles(const std::uint8_t* q, float* out, Decode decode) {
  for (int i = 0; i < kHalfBlock; ++i) out[i] = decode(q[i] & 0xF, i);
  for (int i = 0; i < kHalfBlock; ++i) out[i + kHalfBlock] = decode(q[i] >> 4, i + kHalfBlock);
}

/// Bit 4 of element i's code: bit i of `high`.
int fifth_bit(std::uint32_t high, int i) {
  return static_cast<int>((high >> i) & 1U) << 4;
}

}  // namespace

// Block: half d, codes[16]. x = d (q - 8).
void unpack_q4_0(const std::uint8_t* block, float* out) {
  const float d = load_half(block);
  unpack_nibbles(block + 2, out, [d](int q, int) { return d * static_cast<float>(q - 8); });
}

// Block: half d, half m, codes[16]. x = d q + m.
void unpack_q4_1(const std::uint8_t* block, float* out) {
  const float d = load_half(block);
  const float m = load_half(block + 2);
  unpack_nibbles(block + 4, out, [d, m](int q, int) { return d * static_cast<float>(q) + m; });
}

// Block: half d, 32 high bits, codes[16]. x = d (q - 16).
void unpack_q5_0(const std::uint8_t* block, float* out) {
  const float d = load_half(block);
  const auto high = load<std::uint32_t>(block + 2);
  unpack_nibbles(block + 6, out,
                 [d, high](int q, int i) { return d * static_cast<float>((q | fifth_bit(high, i)) - 16); });
}

// Block: half d, half m, 32 high bits, codes[16]. x = d q + m.
void unpack_q5_1(const std::uint8_t* block, float* out) {
  const float d = load_half(block);
  const float m = load_half(block + 2);
  const auto high = load<std::uint32_t>(block + 4);
  unpack_nibbles(block + 8, out,
                 [d, m, high](int q, int i) { return d * static_cast<float>(q | fifth_bit(high, i)) + m; });
}

// Block: half d, int8 codes[32]. x = d q.
void unpack_q8_0(const std::uint8_t* block, float* out) {
  const float d = load_half(block);
  for (int i = 0; i < 2 * kHalfBlock; ++i) out[i] = d * static_cast<float>(load<std::int8_t>(block + 2 + i));
}

// Block: half d, codes[16]. x = d level[q].
void unpack_iq4_nl(const std::uint8_t* block, float* out) {
  const float d = load_half(block);
  unpack_nibbles(block + 2, out, [d](int q, int) { return d * static_cast<float>(kNonlinearLevels[q]); });
}

}  // namespace miser::gguf
