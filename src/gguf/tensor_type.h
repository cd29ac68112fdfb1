#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace miser::gguf {

/// Weight formats of GGUF tensors; the numbers are those of the file format (ggml's enum ggml_type).
enum class TensorType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kBF16 = 30,
};

/// One weight format: everything that the engine knows of it.
struct TensorFormat {
  TensorType type;
  std::string_view name;       ///< as in llama.cpp: "Q4_1"
  std::size_t block_elements;  ///< elements per block; a row holds whole blocks
  std::size_t block_bytes;     ///< bytes per block in the file
  /// Dequantises `n_blocks` blocks to `n_blocks * block_elements` floats, bit-exact to the `gguf` package.
  void (*unpack)(const std::byte* blocks, std::size_t n_blocks, float* out);
};

/// The format of `type`, or nullptr when the number is none that we read.
const TensorFormat* find_format(TensorType type);

/// All formats, in the order of their numbers.
std::span<const TensorFormat> all_formats();

}  // namespace miser::gguf
