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
      const auto values = layer_signals(trace, centres, signals, first + layer, kept);
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
  controller.mean.resize(heads * columns);
  controller.deviation.resize(heads * columns);
  controller.bias.resize(2 * heads);
  controller.weights.resize(2 * heads * columns);
  return controller;
}

/// Where a head's values begin in a list of floats.
auto at(std::vector<float>& values, std::size_t index) {
  return values.begin() + static_cast<std::ptrdiff_t>(index);
}

}  // namespace

std::vector<std::string> default_signals() {
  return {"received",       "received_sq",    "received_max",   "k_norm2", "v_norm2", "position",
          "received_layer", "received_below", "received_heads", "k",       "k_pairs", "v"};
}

ControllerFit fit_controller(const TraceSource& traces, const Centres& centres, const Sensitivities& truth,
                             const SideCosts& costs, const ControllerOptions& options, nn::ThreadPool& pool,
                             const std::function<void(double)>& progress) {
  const auto [low, high] = price_range(truth, costs, options);
  const double temperature = options.decision.temperature;
  const std::array<DecisionLoss, 2> losses = {DecisionLoss(costs[0], low, high, temperature),
                                              DecisionLoss(costs[1], low, high, temperature)};
  const std::size_t heads = truth.n_kv_heads;
  const std::size_t all_heads = truth.n_layers * heads;
  ControllerFit fit;
  std::vector<std::vector<float>> predicted(2 * all_heads);
  std::size_t group = 1;  // the first layer shows how large the signals of one are
  for (std::size_t first = 0; first < truth.n_layers;) {
    const std::size_t n = std::min(group, truth.n_layers - first);
    auto rows = read_signals(traces, centres, options, first, n, truth.n, pool);
    const std::size_t columns = rows[0].columns;
    if (first == 0) fit.controller = empty_controller(truth, options, columns);
    pool.parallel_for(rows.size(), [&](std::size_t i, int) {
      const std::size_t head = first * heads + i;
      const Standardiser standard = Standardiser::of(rows[i]);
      standard.apply(rows[i]);
      std::copy(standard.mean.begin(), standard.mean.end(), at(fit.controller.mean, head * columns));
      std::copy(standard.deviation.begin(), standard.deviation.end(),
                at(fit.controller.deviation, head * columns));
      for (std::size_t side = 0; side < 2; ++side) {
        const auto log_s = truth.of(side, head / heads, head % heads);
        const std::size_t index = side * all_heads + head;
        LinearFit linear = fit_ridge(rows[i], log_s, options.ridge);
        DecisionOptions decision = options.decision;
        decision.seed += kSeedStep * index;
        if (options.decide) linear = fit_decision(rows[i], log_s, losses[side], linear, decision);
        fit.controller.bias[index] = linear.bias;
        std::copy_n(linear.weights.begin(), columns, at(fit.controller.weights, index * columns));
        for (std::size_t t = 0; t < rows[i].size(); ++t)
          predicted[index].push_back(linear.predict(rows[i].row(t)));
      }
    });
    first += n;
    progress(static_cast<double>(first) / static_cast<double>(truth.n_layers));
    const std::size_t layer_bytes = heads * truth.n * rows[0].stride * sizeof(float);
    group = std::max<std::size_t>(1, kMaxSignalBytes / layer_bytes);
  }
  for (std::size_t i = 0; i < predicted.size(); ++i) fit.predicted.add(i / all_heads, predicted[i]);
  return fit;
}

std::vector<float> predict(const policy::LinearController& controller, std::size_t n_kv_heads,
                           std::size_t side, std::size_t layer, std::size_t head, SignalRows rows) {
  const std::size_t columns = rows.columns;
  const std::size_t all_heads = controller.bias.size() / 2;
  const std::size_t index = layer * n_kv_heads + head;
  const auto of_head = [&](const std::vector<float>& values, std::size_t i) {
    const auto part = std::span(values).subspan(i * columns, columns);
    return std::vector<float>(part.begin(), part.end());
  };
  const Standardiser standard{of_head(controller.mean, index), of_head(controller.deviation, index)};
  standard.apply(rows);
  LinearFit linear{controller.bias[side * all_heads + index],
                   of_head(controller.weights, side * all_heads + index)};
  linear.weights.resize(rows.stride);
  std::vector<float> log_s;
  for (std::size_t i = 0; i < rows.size(); ++i) log_s.push_back(linear.predict(rows.row(i)));
  return log_s;
}

}  // namespace miser::learn
