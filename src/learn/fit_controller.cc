#include "learn/fit_controller.h"

#include <algorithm>
#include <utility>

namespace miser::learn {
namespace {

constexpr std::size_t kMaxSignalBytes = std::size_t{1} << 30U;
constexpr std::uint64_t kSeedStep = 0x9E3779B97F4A7C15;  // so that heads do not share their shuffles

/// Signals of the heads of layers [first, first + n): [n, n_kv_heads].
std::vector<SignalRows> read_signals(const TraceSource& traces, const Centres& centres,
                                     const ControllerOptions& options, std::size_t first, std::size_t n,
                                     std::size_t n_tokens, nn::ThreadPool& pool) {
  std::vector<SignalRows> rows;
  for (std::size_t t = 0; t < traces.n; ++t) {
    const Trace trace = traces.read(t);
    const std::size_t heads = trace.n_kv_heads;
    const policy::SignalSet signals(options.signals, trace.n_heads / heads, trace.head_dim);
    if (rows.empty()) {
      rows.assign(n * heads, SignalRows(signals.columns()));
      for (SignalRows& head : rows) head.values.reserve(n_tokens * head.stride);
    }
    const std::size_t kept = kept_tokens(trace);
    pool.parallel_for(n, [&](std::size_t layer, int) {
      const auto values =
          layer_signals(trace, centres, signals, options.rope_frequencies, first + layer, kept);
      const std::size_t columns = signals.columns();
      for (std::size_t i = 0; i < kept * heads; ++i)
        rows[layer * heads + i % heads].add(std::span(values).subspan(i * columns, columns));
    });
  }
  return rows;
}

/// The prices at which the true sensitivities of all vectors meet the budgets.
std::pair<double, double> price_range(const Sensitivities& truth, const SideCosts& costs,
                                      const ControllerOptions& options) {
  SensitivityHistogram histogram;
  for (std::size_t side = 0; side < 2; ++side) {
    const std::size_t half = truth.log_s.size() / 2;
    histogram.add(side, std::span(truth.log_s).subspan(side * half, half));
  }
  constexpr double kLeastAbove = 0.25;  // bits: short vectors cost more at every width
  const double least = costs[0].bits.front() + kLeastAbove;
  const double low_bits = std::clamp(options.low_bits, least, costs[0].bits.back());
  const double low =
      histogram.log_price(costs, std::clamp(options.high_bits, low_bits, costs[0].bits.back()));
  const double high = histogram.log_price(costs, low_bits);
  constexpr double kLeastRange = 1;  // all vectors alike: any range will do
  constexpr double kMostRange = 12;
  return {std::clamp(low, high - kMostRange, high - kLeastRange), high};
}

/// Room for all heads; each is written by one thread.
policy::LinearController empty_controller(const Sensitivities& truth, const ControllerOptions& options,
                                          std::size_t columns) {
  const std::size_t heads = truth.n_layers * truth.n_kv_heads;
  policy::LinearController controller;
  controller.signals = options.signals;
  controller.rope_frequencies = options.rope_frequencies;
  controller.mean.resize(heads * columns);
  controller.deviation.resize(heads * columns);
  controller.bias.resize(2 * heads);
  controller.weights.resize(2 * heads * columns);
  return controller;
}

std::vector<float> slice(const std::vector<float>& values, std::size_t index, std::size_t n) {
  const auto part = std::span(values).subspan(index * n, n);
  return {part.begin(), part.end()};
}

Standardiser standardiser(const policy::LinearController& controller, std::size_t head, std::size_t columns) {
  return {slice(controller.mean, head, columns), slice(controller.deviation, head, columns)};
}

/// The function of one (side, layer, head), for such rows.
LinearFit function(const policy::LinearController& controller, std::size_t index, const SignalRows& rows) {
  LinearFit linear{controller.bias[index], slice(controller.weights, index, rows.columns)};
  linear.weights.resize(rows.stride);
  return linear;
}

/// Where a head's values begin in a list of floats.
auto at(std::vector<float>& values, std::size_t index) {
  return values.begin() + static_cast<std::ptrdiff_t>(index);
}

/// Fits functions to signals of heads and stores them in a controller.
class HeadFitter {
 public:
  HeadFitter(const Sensitivities& truth, const SideCosts& costs, const ControllerOptions& options)
      : truth_(truth),
        options_(options),
        losses_(decision_losses(truth, costs, options)),
        predicted_(truth.log_s.size()) {}

  /// One function per side for the heads from `first` on (layer * n_kv_heads + head) whose signals are
  /// `rows`, which are standardised. Several threads may fit different heads.
  void fit(std::size_t first, std::span<SignalRows> rows, policy::LinearController& controller);
  /// ln s of all vectors so far, in the order of the truth.
  std::span<const float> predicted() const { return predicted_; }

 private:
  static std::array<DecisionLoss, 2> decision_losses(const Sensitivities& truth, const SideCosts& costs,
                                                     const ControllerOptions& options) {
    const auto [low, high] = price_range(truth, costs, options);
    const double temperature = options.decision.temperature;
    return {DecisionLoss(costs[0], low, high, temperature), DecisionLoss(costs[1], low, high, temperature)};
  }

  const Sensitivities& truth_;
  const ControllerOptions& options_;
  std::array<DecisionLoss, 2> losses_;
  std::vector<float> predicted_;
};

void HeadFitter::fit(std::size_t first, std::span<SignalRows> rows, policy::LinearController& controller) {
  SignalRows& all = rows[0];  // the others are moved behind
  for (SignalRows& other : rows.subspan(1)) {
    all.values.insert(all.values.end(), other.values.begin(), other.values.end());
    std::vector<float>().swap(other.values);
  }
  const Standardiser standard = Standardiser::of(all);
  standard.apply(all);
  const std::size_t all_heads = truth_.n_layers * truth_.n_kv_heads;
  for (std::size_t side = 0; side < 2; ++side) {
    const std::size_t index = side * all_heads + first;
    const auto log_s = std::span(truth_.log_s).subspan(index * truth_.n, rows.size() * truth_.n);
    LinearFit linear = fit_ridge(all, log_s, options_.ridge);
    DecisionOptions decision = options_.decision;
    decision.seed += kSeedStep * index;
    if (options_.decide) linear = fit_decision(all, log_s, losses_[side], linear, decision);
    for (std::size_t head = first; head < first + rows.size(); ++head) {
      std::copy(standard.mean.begin(), standard.mean.end(), at(controller.mean, head * all.columns));
      std::copy(standard.deviation.begin(), standard.deviation.end(),
                at(controller.deviation, head * all.columns));
      controller.bias[side * all_heads + head] = linear.bias;
      std::copy_n(linear.weights.begin(), all.columns,
                  at(controller.weights, (side * all_heads + head) * all.columns));
    }
    for (std::size_t i = 0; i < all.size(); ++i)
      predicted_[index * truth_.n + i] = linear.predict(all.row(i));
  }
}

}  // namespace

std::vector<std::string> default_signals() {
  return {"received",       "received_sq",    "received_max",   "k_norm2", "v_norm2", "position",
          "received_layer", "received_below", "received_heads", "k",       "k_pairs", "v"};
}

ControllerFit fit_controller(const TraceSource& traces, const Centres& centres, const Sensitivities& truth,
                             const SideCosts& costs, const ControllerOptions& options, nn::ThreadPool& pool,
                             const std::function<void(double)>& progress) {
  HeadFitter fitter(truth, costs, options);
  const std::size_t heads = truth.n_kv_heads;
  const std::size_t unit = options.share == Share::kHead    ? 1
                           : options.share == Share::kLayer ? heads
                                                            : truth.n_layers * heads;
  ControllerFit fit;
  // The first layer shows how large the signals of one are.
  std::size_t group = options.share == Share::kModel ? truth.n_layers : 1;
  for (std::size_t first = 0; first < truth.n_layers;) {
    const std::size_t n = std::min(group, truth.n_layers - first);
    auto rows = read_signals(traces, centres, options, first, n, truth.n, pool);
    if (first == 0) fit.controller = empty_controller(truth, options, rows[0].columns);
    pool.parallel_for(rows.size() / unit, [&](std::size_t i, int) {
      fitter.fit(first * heads + i * unit, std::span(rows).subspan(i * unit, unit), fit.controller);
    });
    first += n;
    progress(static_cast<double>(first) / static_cast<double>(truth.n_layers));
    const std::size_t layer_bytes = heads * truth.n * rows[0].stride * sizeof(float);
    group = std::max<std::size_t>(1, kMaxSignalBytes / layer_bytes);
  }
  for (std::size_t side = 0; side < 2; ++side) {
    const std::size_t half = truth.log_s.size() / 2;
    fit.predicted.add(side, fitter.predicted().subspan(side * half, half));
  }
  return fit;
}

Sensitivities predicted_sensitivities(const policy::Plan& plan, const Trace& trace, std::size_t n,
                                      nn::ThreadPool& pool) {
  const std::size_t heads = trace.n_kv_heads;
  const policy::SignalSet signals(plan.linear->signals, trace.n_heads / heads, trace.head_dim);
  Sensitivities out{trace.n_layers, heads, n, std::vector<float>(2 * trace.n_layers * heads * n)};
  pool.parallel_for(trace.n_layers, [&](std::size_t layer, int) {
    const auto values = layer_signals(trace, {plan.centre_k, plan.centre_v}, signals,
                                      plan.linear->rope_frequencies, layer, n);
    for (std::size_t head = 0; head < heads; ++head) {
      SignalRows rows(signals.columns());
      for (std::size_t i = 0; i < n; ++i)
        rows.add(std::span(values).subspan((i * heads + head) * rows.columns, rows.columns));
      standardiser(*plan.linear, layer * heads + head, rows.columns).apply(rows);
      for (std::size_t side = 0; side < 2; ++side) {
        const LinearFit linear = function(*plan.linear, (side * trace.n_layers + layer) * heads + head, rows);
        for (std::size_t i = 0; i < n; ++i) out.of(side, layer, head)[i] = linear.predict(rows.row(i));
      }
    }
  });
  return out;
}

}  // namespace miser::learn
