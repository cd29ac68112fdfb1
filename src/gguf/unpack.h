#pragma once
#include <cstddef>
#include <cstdint>

namespace miser::gguf {

// Each reads one block and writes its floats (32 of the small formats, 256 of those named K or XS). Layouts
// are those of ggml; operations and their order are those of the `gguf` package, so results are bit-exact.

void unpack_q4_0(const std::uint8_t* block, float* out);
void unpack_q4_1(const std::uint8_t* block, float* out);
void unpack_q5_0(const std::uint8_t* block, float* out);
void unpack_q5_1(const std::uint8_t* block, float* out);
void unpack_q8_0(const std::uint8_t* block, float* out);
void unpack_iq4_nl(const std::uint8_t* block, float* out);

void unpack_q2_k(const std::uint8_t* block, float* out);
void unpack_q3_k(const std::uint8_t* block, float* out);
void unpack_q4_k(const std::uint8_t* block, float* out);
void unpack_q5_k(const std::uint8_t* block, float* out);
void unpack_q6_k(const std::uint8_t* block, float* out);
void unpack_iq4_xs(const std::uint8_t* block, float* out);

/// Levels of the non-uniform 4-bit formats IQ4_NL and IQ4_XS.
inline constexpr std::int8_t kNonlinearLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                     1,    13,   25,  38,  53,  69,  89,  113};

}  // namespace miser::gguf
