#include "gguf/tensor_type.h"

#include <algorithm>
#include <bit>

#include "gguf/load.h"
#include "gguf/unpack.h"

namespace miser::gguf {
namespace {

void unpack_f32(const std::byte* blocks, std::size_t n_blocks, float* out) {
  std::copy_n(blocks, n_blocks * sizeof(float), reinterpret_cast<std::byte*>(out));
}

void unpack_f16(const std::byte* blocks, std::size_t n_blocks, float* out) {
  for (std::size_t i = 0; i < n_blocks; ++i) out[i] = load_half(blocks + 2 * i);
}

void unpack_bf16(const std::byte* blocks, std::size_t n_blocks, float* out) {
  for (std::size_t i = 0; i < n_blocks; ++i) {
    out[i] = std::bit_cast<float>(std::uint32_t{load<std::uint16_t>(blocks + 2 * i)} << 16);
  }
}

using UnpackBlock = void (*)(const std::uint8_t* block, float* out);

/// An entry whose unpack runs `unpack_block` over all blocks.
template <std::size_t block_elements, std::size_t block_bytes, UnpackBlock unpack_block>
constexpr TensorFormat blocks_of(TensorType type, std::string_view name) {
  return {type, name, block_elements, block_bytes,
          [](const std::byte* blocks, std::size_t n_blocks, float* out) {
            const auto* block = reinterpret_cast<const std::uint8_t*>(blocks);
            for (std::size_t i = 0; i < n_blocks; ++i) {
              unpack_block(block + i * block_bytes, out + i * block_elements);
            }
          }};
}

constexpr TensorFormat kFormats[] = {
    {TensorType::kF32, "F32", 1, 4, unpack_f32},
    {TensorType::kF16, "F16", 1, 2, unpack_f16},
    blocks_of<32, 18, unpack_q4_0>(TensorType::kQ4_0, "Q4_0"),
    blocks_of<32, 20, unpack_q4_1>(TensorType::kQ4_1, "Q4_1"),
    blocks_of<32, 22, unpack_q5_0>(TensorType::kQ5_0, "Q5_0"),
    blocks_of<32, 24, unpack_q5_1>(TensorType::kQ5_1, "Q5_1"),
    blocks_of<32, 34, unpack_q8_0>(TensorType::kQ8_0, "Q8_0"),
    blocks_of<256, 84, unpack_q2_k>(TensorType::kQ2_K, "Q2_K"),
    blocks_of<256, 110, unpack_q3_k>(TensorType::kQ3_K, "Q3_K"),
    blocks_of<256, 144, unpack_q4_k>(TensorType::kQ4_K, "Q4_K"),
    blocks_of<256, 176, unpack_q5_k>(TensorType::kQ5_K, "Q5_K"),
    blocks_of<256, 210, unpack_q6_k>(TensorType::kQ6_K, "Q6_K"),
    blocks_of<32, 18, unpack_iq4_nl>(TensorType::kIQ4_NL, "IQ4_NL"),
    blocks_of<256, 136, unpack_iq4_xs>(TensorType::kIQ4_XS, "IQ4_XS"),
    {TensorType::kBF16, "BF16", 1, 2, unpack_bf16},
};

}  // namespace

const TensorFormat* find_format(TensorType type) {
  const auto* const found = std::ranges::find(kFormats, type, &TensorFormat::type);
  return found == std::end(kFormats) ? nullptr : found;
}

std::span<const TensorFormat> all_formats() {
  return kFormats;
}

}  // namespace miser::gguf
