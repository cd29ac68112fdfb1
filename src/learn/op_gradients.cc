#include "learn/op_gradients.h"

#include <cmath>
#include <cstddef>
#include <vector>

#include "nn/ops.h"

namespace miser::learn {

void norm_gradient(std::span<const float> x, std::span<const float> weight, float epsilon,
                   std::span<const float> dy, std::span<float> dx) {
  float squares = 0;
  float along = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    squares += x[i] * x[i];
    along += x[i] * weight[i] * dy[i];
  }
  const auto n = static_cast<float>(x.size());
  const float r = 1.0F / std::sqrt(squares / n + epsilon);
  const float shrink = r * r * r * along / n;
  for (std::size_t i = 0; i < x.size(); ++i) dx[i] = r * weight[i] * dy[i] - shrink * x[i];
}

void swiglu_slopes(std::span<float> gate, std::span<float> up) {
  thread_local std::vector<float> e;
  e.resize(gate.size());
  for (std::size_t i = 0; i < gate.size(); ++i) e[i] = -gate[i];
  nn::exp_shifted(e, 0.0F);
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const float sigmoid = 1.0F / (1.0F + e[i]);
    const float silu = gate[i] * sigmoid;
    gate[i] = up[i] * (sigmoid + silu * (1.0F - sigmoid));
    up[i] = silu;
  }
}

}  // namespace miser::learn
