#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "kv/width.h"

namespace miser::kv {

/// How the scale of a 1- to 4-bit vector is chosen. Both are stored the same way.
enum class ScaleRule : std::uint8_t {
  kLeastSquares,  ///< minimises |x - y|^2, which shrinks the vector
  kUnbiased,      ///< <y, x> = |x|^2: errors of many vectors average out; scores need `score_correction`
};

/// The scalar codec, the reference for every later kernel. A vector of `head_dim` floats, already centred and
/// rotated (kv/rotation.h), becomes one binary16 scale and `payload_bytes` bytes of packed codes; code i
/// takes bits [i*b, (i+1)*b) of the payload, little endian. Levels are small integers times the scale
/// (docs/codecs.md). Width::k16 has no scale: its payload is the vector itself in binary16. The bytes are the
/// same on every machine.

/// Bytes of the codes of one vector: ceil(head_dim / 8) * bits(width) (2 * head_dim at 16 bits).
std::size_t payload_bytes(Width width, std::size_t head_dim);
/// Bytes of its scale: 2, or 0 at 16 bits.
std::size_t scale_bytes(Width width);

/// Encodes x into `payload` (payload_bytes of it) and returns the scale's binary16 bits: finite for any x,
/// saturated at 65504. A vector too small for a scale (and a zero vector) decodes to zeros.
/// REQUIRES: width != k16, |x[i]| < 2^24 (a binary16 row, centred and rotated, is below 2^22 up to head_dim
/// 1,024).
std::uint16_t encode(Width width, std::span<const float> x, ScaleRule rule, std::span<std::byte> payload);

/// The inverse: out.size() floats. REQUIRES: width != k16.
void decode(Width width, std::span<const std::byte> payload, float scale, std::span<float> out);

/// The constant c of the score correction. An unbiased key with error e adds a variance of |q|^2 |e|^2 / D^2
/// to its score q.k / sqrt(D), and so raises the mean of its exponential; half of that variance comes off:
///     score = q.y / sqrt(D) - c (|q|^2 / D) scale^2,   c = E|e|^2 / (2 D scale^2) of a Gaussian vector, D
///     = 64.
/// Zero for 8 and 16 bits and for least-squares scales.
float score_correction(Width width, ScaleRule rule);

}  // namespace miser::kv
