#pragma once
#include <array>
#include <cstddef>

#include "kv/width.h"
#include "learn/fit_samples.h"

namespace miser::learn {

/// What each width of the codec does to the vectors of a model.
struct CodecCosts {
  std::array<std::array<float, kv::kWidthCount>, 2> error{};  ///< mean of |x - z|^2 / |x|^2, by side
  std::array<float, kv::kWidthCount> stored_bits{};           ///< per element: codes, scale and tag
};

/// Codes, scale and tag of one vector, in bits per element.
float stored_bits(kv::Width width, std::size_t head_dim);

/// Measures the errors with the codec itself (kv/codec.h, unbiased scales) on some hundred vectors of each
/// (side, layer, KV head), spread over the traces.
CodecCosts codec_costs(const TraceSource& traces, const Centres& centres);

}  // namespace miser::learn
