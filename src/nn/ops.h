#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace miser::nn {

/// out[i] = x[i] / sqrt(mean(x^2) + epsilon) * weight[i] (Zhang & Sennrich 2019). In-place allowed.
void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon, std::span<float> out);

/// out[i] += x[i].
void add(std::span<const float> x, std::span<float> out);

/// gate[i] = silu(gate[i]) * up[i], the SwiGLU product (Shazeer 2020).
void silu_multiply(std::span<float> gate, std::span<const float> up);

/// Rotates pairs (2i, 2i+1) of each head of x [n_heads, head_dim] by angle i: cos_sin holds head_dim / 2
/// pairs (cos, sin); dimensions from 2 * (cos_sin.size() / 2) on are left alone (RoPE, Su et al. 2021).
void apply_rope(std::span<float> x, std::size_t n_heads, std::size_t head_dim,
                std::span<const float> cos_sin);

/// x[i] = exp(x[i] - shift); returns their sum, and the sum of their squares in `sum_squares` if not null.
float exp_shifted(std::span<float> x, float shift, float* sum_squares = nullptr);

float max_of(std::span<const float> x);  ///< REQUIRES: not empty

/// x[i] *= factor.
void scale(std::span<float> x, float factor);

/// IEEE binary16 to and from float, round to nearest even; NaN stays NaN, overflow gives infinity.
void f16_to_f32(std::span<const std::uint16_t> x, std::span<float> out);
void f32_to_f16(std::span<const float> x, std::span<std::uint16_t> out);

}  // namespace miser::nn
