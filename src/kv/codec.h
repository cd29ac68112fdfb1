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
/// rotated (kv/rotation.h), becomes one binary16 scale and `payload_bytes` bytes of packed codes; code i takes
/// bits [i*b, (i+1)*b) of the payload, little endian. Levels are small integers times the scale
/// (docs/codecs.md). Width::k16 has no scale: its payload is the vector itself in binary16.

/// Bytes of the codes of one vector: ceil(head_dim / 8) * bits(width) (2 * head_dim at 16 bits).
std::size_t payload_bytes(Width width, std::size_t head_dim);
/// Bytes of its scale: 2, or 0 at 16 bits.
std::size_t scale_bytes(Width width);

/// Encodes x into `payload` (payload_bytes of it) and returns the scale's binary16 bits.
/// A zero vector decodes to zeros. REQUIRES: width != k16, finite x.
std::uint16_t encode(Width width, std::span<const float> x, ScaleRule rule, std::span<std::byte> payload);

/// The inverse: out.size() floats.
void decode(Width width, std::span<const std::byte> payload, std::uint16_t scale, std::span<float> out);

/// The constant c of the score correction. An unbiased key with error e adds a variance of |q|^2 |e|^2 / D^2 to
/// its score q.k / sqrt(D), and so raises the mean of its exponential; half of that variance comes off:
///     score = q.y / sqrt(D) - c (|q|^2 / D) scale^2,   c = E|e|^2 / (2 D scale^2) of a Gaussian vector.
/// Zero for 8 and 16 bits and for least-squares scales.
float score_correction(Width width, ScaleRule rule);

}  // namespace miser::kv
