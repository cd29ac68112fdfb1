#pragma once
#include <cstddef>
#include <span>

namespace miser::nn {

/// What apply_rope() takes to turn by so many positions: out[2i] = cos, out[2i + 1] = sin of positions *
/// frequencies[i] radians, an angle of double precision.
void rope_cos_sin(std::size_t positions, std::span<const float> frequencies, std::span<float> out);

}  // namespace miser::nn
