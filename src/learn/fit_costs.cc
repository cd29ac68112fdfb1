#include "learn/fit_costs.h"

#include <algorithm>
#include <vector>

#include "base/divide_up.h"
#include "gguf/half.h"
#include "kv/codec.h"
#include "kv/rotation.h"

namespace miser::learn {
namespace {

constexpr std::size_t kVectorsPerHead = 256;  // of all traces: 1 % of the spread of errors
constexpr std::size_t kTagBits = 3;

/// |x - z|^2 / |x|^2 of one rotated vector, 0 for a zero vector.
double relative_error(kv::Width width, std::span<const float> x) {
  std::vector<std::byte> payload(kv::payload_bytes(width, x.size()));
  std::vector<float> z(x.size());
  const auto scale = kv::encode(width, x, kv::ScaleRule::kUnbiased, payload);
  kv::decode(width, payload, gguf::half_to_float(scale), z);
  double error = 0;
  double norm2 = 0;
  for (std::size_t c = 0; c < x.size(); ++c) {
    const double distance = static_cast<double>(x[c]) - static_cast<double>(z[c]);
    error += distance * distance;
    norm2 += static_cast<double>(x[c]) * static_cast<double>(x[c]);
  }
  return norm2 == 0 ? 0 : error / norm2;
}

/// Sums of the errors of one side, and how many vectors they are of.
struct ErrorSums {
  std::array<double, kv::kWidthCount> errors{};
  std::size_t n = 0;

  void add(std::span<const float> x) {
    for (const kv::Width width : kv::kAllWidths) {
      if (width != kv::Width::k16) errors[static_cast<std::size_t>(width)] += relative_error(width, x);
    }
    ++n;
  }
};

/// `count` vectors of one head, spread over the trace.
void add_head(const Trace& trace, const Centres& centres, std::size_t side, std::size_t head_index,
              std::size_t count, const kv::Rotation& rotation, ErrorSums& sums) {
  const std::size_t dim = trace.head_dim;
  std::vector<float> rows(trace.n * dim);
  centred_rows(trace, centres, side, head_index / trace.n_kv_heads, head_index % trace.n_kv_heads, rows);
  for (std::size_t i = 0; i < count; ++i) {
    const auto row = std::span(rows).subspan(i * trace.n / count * dim, dim);
    rotation.apply(row);
    sums.add(row);
  }
}

}  // namespace

float stored_bits(kv::Width width, std::size_t head_dim) {
  const std::size_t bytes = kv::payload_bytes(width, head_dim) + kv::scale_bytes(width);
  return static_cast<float>(8 * bytes + kTagBits) / static_cast<float>(head_dim);
}

CodecCosts codec_costs(const TraceSource& traces, const Centres& centres) {
  CodecCosts costs;
  std::array<ErrorSums, 2> sums;
  for (std::size_t t = 0; t < traces.n; ++t) {
    const Trace trace = traces.read(t);
    const kv::Rotation rotation(trace.head_dim);
    const std::size_t count = std::min(trace.n, divide_up(kVectorsPerHead, traces.n));
    for (std::size_t side = 0; side < 2; ++side) {
      for (std::size_t head = 0; head < trace.n_layers * trace.n_kv_heads; ++head)
        add_head(trace, centres, side, head, count, rotation, sums[side]);
    }
    for (const kv::Width width : kv::kAllWidths)
      costs.stored_bits[static_cast<std::size_t>(width)] = stored_bits(width, trace.head_dim);
  }
  for (std::size_t side = 0; side < 2; ++side) {
    for (std::size_t w = 0; w < kv::kWidthCount; ++w)
      costs.error[side][w] = static_cast<float>(sums[side].errors[w] / static_cast<double>(sums[side].n));
  }
  return costs;
}

}  // namespace miser::learn
