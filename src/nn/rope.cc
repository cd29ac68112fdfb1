#include "nn/rope.h"

#include <cassert>
#include <cmath>

namespace miser::nn {

void rope_cos_sin(std::size_t positions, std::span<const float> frequencies, std::span<float> out) {
  assert(out.size() == 2 * frequencies.size());
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double angle = static_cast<double>(positions) * frequencies[i];
    out[2 * i] = static_cast<float>(std::cos(angle));
    out[2 * i + 1] = static_cast<float>(std::sin(angle));
  }
}

}  // namespace miser::nn
