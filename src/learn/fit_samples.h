#pragma once
#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "learn/trace.h"
#include "policy/features.h"

namespace miser::learn {

/// Traces that are read one at a time, as often as a fit needs them: together they do not fit into memory.
struct TraceSource {
  std::size_t n = 0;
  std::function<Trace(std::size_t index)> read;
};

/// The means that are subtracted before quantising: K and V, [n_layers, n_kv_heads, head_dim] each.
using Centres = std::array<std::vector<float>, 2>;

/// Means of the K and V rows of all tokens of the traces; sinks are in none. REQUIRES: n > 0, one shape.
Centres mean_rows(const TraceSource& traces);

/// Sensitivities of vectors: expected KL in nats per future query and unit of relative squared error.
struct Sensitivities {
  std::size_t n_layers = 0;
  std::size_t n_kv_heads = 0;
  std::size_t n = 0;         ///< tokens kept of all traces, in order
  std::vector<float> log_s;  ///< [2, n_layers, n_kv_heads, n]: natural logarithms; side 0 is K, 1 is V

  std::span<const float> of(std::size_t side, std::size_t layer, std::size_t head) const {
    return std::span(log_s).subspan(((side * n_layers + layer) * n_kv_heads + head) * n, n);
  }
  std::span<float> of(std::size_t side, std::size_t layer, std::size_t head) {
    return std::span(log_s).subspan(((side * n_layers + layer) * n_kv_heads + head) * n, n);
  }
  /// Puts the tokens of another text behind these. REQUIRES: the same layers and heads, or none so far.
  void append(const Sensitivities& more);
};

/// Tokens at the front of a trace that are used: those that at least an eighth of the context's queries read
/// packed. The gradients of later ones hold too few queries.
std::size_t kept_tokens(const Trace& trace);

/// s = 1/2 E|g|^2 |x - centre|^2 / (head_dim future) of the first `kept` vectors of one (side, layer, head),
/// as logarithms, not below ln 1e-14.
void log_sensitivities(const Trace& trace, const Centres& centres, std::size_t side, std::size_t layer,
                       std::size_t head, std::span<float> out);

/// Those of the first `n` tokens of a trace.
Sensitivities sensitivities(const Trace& trace, const Centres& centres, std::size_t n);

/// Those of the kept tokens of all traces.
Sensitivities all_sensitivities(const TraceSource& traces, const Centres& centres);

/// Vectors of one (side, layer, head) as they are quantised, but for the rotation: x - centre as floats,
/// [out.size() / head_dim, head_dim], the first of the trace.
void centred_rows(const Trace& trace, const Centres& centres, std::size_t side, std::size_t layer,
                  std::size_t head, std::span<float> out);

/// Signals of the first `n` tokens of one layer: [n, n_kv_heads, signals.columns()]. `rope_frequencies` as in
/// policy::LinearController.
std::vector<float> layer_signals(const Trace& trace, const Centres& centres, const policy::SignalSet& signals,
                                 const std::vector<float>& rope_frequencies, std::size_t layer,
                                 std::size_t n);

}  // namespace miser::learn
