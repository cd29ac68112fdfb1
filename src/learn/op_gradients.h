#pragma once
#include <span>

namespace miser::learn {

/// The gradient with respect to x of nn::rms_norm(x, weight, epsilon), given `dy` with respect to its result:
///     dx = r w dy - x r^3 mean(x w dy),   r = 1 / sqrt(mean(x^2) + epsilon).
void norm_gradient(std::span<const float> x, std::span<const float> weight, float epsilon,
                   std::span<const float> dy, std::span<float> dx);

/// The gradients of f = silu(gate) * up by gate and by up, in their place: f' = up silu'(gate) and
/// silu(gate).
void swiglu_slopes(std::span<float> gate, std::span<float> up);

}  // namespace miser::learn
