#include "learn/fit_samples.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "nn/ops.h"
#include "policy/unturned_keys.h"

namespace miser::learn {
namespace {

constexpr double kLeastSensitivity = 1e-14;
constexpr double kMinFutureShare = 0.125;

const std::vector<std::uint16_t>& rows_of(const Trace& trace, std::size_t side) {
  return side == 0 ? trace.k : trace.v;
}

std::span<const float> centre_of(const Centres& centres, const Trace& trace, std::size_t side,
                                 std::size_t layer) {
  const std::size_t size = trace.n_kv_heads * trace.head_dim;
  return std::span(centres[side]).subspan(layer * size, size);
}

/// The rows of all heads of one layer: [n, n_kv_heads, head_dim].
std::vector<float> layer_rows(const Trace& trace, std::size_t side, std::size_t layer, std::size_t n) {
  const std::size_t per_token = trace.n_kv_heads * trace.head_dim;
  std::vector<float> rows(n * per_token);
  nn::f16_to_f32(std::span(rows_of(trace, side)).subspan(layer * trace.n * per_token, rows.size()), rows);
  return rows;
}

/// |x - centre|^2 of each head's vector; `centre` is that of a token.
std::vector<float> norms2(std::span<const float> rows, std::span<const float> centre, std::size_t head_dim) {
  std::vector<float> norms(rows.size() / head_dim);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const float x = rows[i] - centre[i % centre.size()];
    norms[i / head_dim] += x * x;
  }
  return norms;
}

}  // namespace

Centres mean_rows(const TraceSource& traces) {
  std::array<std::vector<double>, 2> sums;
  std::size_t n = 0;
  for (std::size_t t = 0; t < traces.n; ++t) {
    const Trace trace = traces.read(t);
    const std::size_t per_token = trace.n_kv_heads * trace.head_dim;
    std::vector<float> row(per_token);
    for (std::size_t side = 0; side < 2; ++side) {
      sums[side].resize(trace.n_layers * per_token);
      for (std::size_t at = 0; at < trace.n_layers * trace.n; ++at) {
        nn::f16_to_f32(std::span(rows_of(trace, side)).subspan(at * per_token, per_token), row);
        double* const sum = &sums[side][at / trace.n * per_token];
        for (std::size_t c = 0; c < per_token; ++c) sum[c] += row[c];
      }
    }
    n += trace.n;
  }
  Centres means;
  for (std::size_t side = 0; side < 2; ++side) {
    for (const double sum : sums[side])
      means[side].push_back(static_cast<float>(sum / static_cast<double>(n)));
  }
  return means;
}

std::size_t kept_tokens(const Trace& trace) {
  const auto least = static_cast<float>(kMinFutureShare * static_cast<double>(trace.length));
  std::size_t n = 0;
  while (n < trace.n && trace.future[n] >= least) ++n;
  return n;
}

void centred_rows(const Trace& trace, const Centres& centres, std::size_t side, std::size_t layer,
                  std::size_t head, std::span<float> out) {
  const std::size_t dim = trace.head_dim;
  const auto centre = centre_of(centres, trace, side, layer).subspan(head * dim, dim);
  for (std::size_t i = 0; i < out.size() / dim; ++i) {
    const auto row = out.subspan(i * dim, dim);
    const std::size_t at = ((layer * trace.n + i) * trace.n_kv_heads + head) * dim;
    nn::f16_to_f32(std::span(rows_of(trace, side)).subspan(at, dim), row);
    for (std::size_t c = 0; c < dim; ++c) row[c] -= centre[c];
  }
}

void log_sensitivities(const Trace& trace, const Centres& centres, std::size_t side, std::size_t layer,
                       std::size_t head, std::span<float> out) {
  assert(out.size() <= trace.n);
  const std::size_t dim = trace.head_dim;
  std::vector<float> rows(out.size() * dim);
  centred_rows(trace, centres, side, layer, head, rows);
  for (std::size_t i = 0; i < out.size(); ++i) {
    double norm2 = 0;
    for (std::size_t c = 0; c < dim; ++c) norm2 += static_cast<double>(rows[i * dim + c]) * rows[i * dim + c];
    const std::size_t at = ((side * trace.n_layers + layer) * trace.n + i) * trace.n_kv_heads + head;
    const double s = 0.5 * static_cast<double>(trace.fisher[at]) / static_cast<double>(trace.future[i]) *
                     norm2 / static_cast<double>(dim);
    out[i] = static_cast<float>(std::log(std::max(s, kLeastSensitivity)));
  }
}

void Sensitivities::append(const Sensitivities& more) {
  n_layers = more.n_layers;
  n_kv_heads = more.n_kv_heads;
  const std::size_t heads = 2 * n_layers * n_kv_heads;
  std::vector<float> both;
  both.reserve(heads * (n + more.n));
  for (std::size_t i = 0; i < heads; ++i) {
    const auto mine = std::span(log_s).subspan(i * n, n);
    const auto others = std::span(more.log_s).subspan(i * more.n, more.n);
    both.insert(both.end(), mine.begin(), mine.end());
    both.insert(both.end(), others.begin(), others.end());
  }
  log_s = std::move(both);
  n += more.n;
}

Sensitivities sensitivities(const Trace& trace, const Centres& centres, std::size_t n) {
  const std::size_t heads = trace.n_kv_heads;
  Sensitivities out{trace.n_layers, heads, n, std::vector<float>(2 * trace.n_layers * heads * n)};
  for (std::size_t side = 0; side < 2; ++side) {
    for (std::size_t layer = 0; layer < trace.n_layers; ++layer) {
      for (std::size_t head = 0; head < heads; ++head)
        log_sensitivities(trace, centres, side, layer, head, out.of(side, layer, head));
    }
  }
  return out;
}

Sensitivities all_sensitivities(const TraceSource& traces, const Centres& centres) {
  Sensitivities all;
  for (std::size_t t = 0; t < traces.n; ++t) {
    const Trace trace = traces.read(t);
    all.append(sensitivities(trace, centres, kept_tokens(trace)));
  }
  return all;
}

std::vector<float> layer_signals(const Trace& trace, const Centres& centres, const policy::SignalSet& signals,
                                 const std::vector<float>& rope_frequencies, std::size_t layer,
                                 std::size_t n) {
  const auto of_layer = [&](const std::vector<float>& values, std::size_t l, std::size_t per_token) {
    return std::span(values).subspan(l * trace.n * per_token, n * per_token);
  };
  auto k = layer_rows(trace, 0, layer, n);
  const auto k_norm2 = norms2(k, centre_of(centres, trace, 0, layer), trace.head_dim);
  policy::UnturnedKeys(rope_frequencies).turn_back(k, trace.n_kv_heads, trace.head_dim, trace.first);
  const auto v = layer_rows(trace, 1, layer, n);
  const auto v_norm2 = norms2(v, centre_of(centres, trace, 1, layer), trace.head_dim);
  policy::SignalSource source;
  source.n = n;
  source.n_heads = trace.n_heads;
  source.n_kv_heads = trace.n_kv_heads;
  source.head_dim = trace.head_dim;
  source.first_position = trace.first;
  // The lowest layer has none below and sees its own.
  source.received = of_layer(trace.received, layer == 0 ? 0 : layer - 1, trace.n_heads);
  std::vector<float> below(n);
  policy::mean_log_received(source, below);
  source.received = of_layer(trace.received, layer, trace.n_heads);
  source.received_sq = of_layer(trace.received_sq, layer, trace.n_kv_heads);
  source.received_max = of_layer(trace.received_max, layer, trace.n_kv_heads);
  source.received_below = below;
  source.k_norm2 = k_norm2;
  source.v_norm2 = v_norm2;
  source.k = k;
  source.v = v;
  std::vector<float> out(n * trace.n_kv_heads * signals.columns());
  signals.compute(source, out);
  return out;
}

}  // namespace miser::learn
