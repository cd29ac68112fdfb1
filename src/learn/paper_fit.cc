#include "learn/paper_fit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "learn/fit_adam.h"
#include "learn/paper_network.h"
#include "learn/shuffled.h"

namespace miser::learn {
namespace {

constexpr std::size_t kClasses = PaperNetwork::kClasses;
constexpr std::size_t kInputs = PaperNetwork::kInputs;
constexpr std::size_t kValidationShare = 5;  // one in five
constexpr float kLeastSignalDeviation = 1e-6F;

/// Signals [n, 4] of the tokens whose sensitivities are known.
std::vector<float> token_signals(const TraceSource& traces) {
  std::vector<float> x;
  for (std::size_t t = 0; t < traces.n; ++t) {
    const Trace trace = traces.read(t);
    const auto last = static_cast<std::ptrdiff_t>(kInputs * kept_tokens(trace));
    x.insert(x.end(), trace.token_signals.begin(), trace.token_signals.begin() + last);
  }
  return x;
}

void normalise(std::vector<float>& x, policy::PaperController& controller) {
  const std::size_t n_tokens = x.size() / kInputs;
  const auto n = static_cast<double>(n_tokens);
  for (std::size_t s = 0; s < kInputs; ++s) {
    double sum = 0;
    double squares = 0;
    for (std::size_t i = s; i < x.size(); i += kInputs) {
      sum += static_cast<double>(x[i]);
      squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    }
    const double mean = sum / n;
    controller.mean[s] = static_cast<float>(mean);
    controller.deviation[s] =
        static_cast<float>(std::sqrt(std::max(squares / n - mean * mean, 0.0))) + kLeastSignalDeviation;
    for (std::size_t i = s; i < x.size(); i += kInputs)
      x[i] = (x[i] - controller.mean[s]) / controller.deviation[s];
  }
}

/// Harm of one token's vectors at class b, mean stored bits aside.
double harm(const PaperLabels& labels, const SideCosts& costs, std::size_t i, std::size_t b) {
  return labels.sensitivity[0][i] * costs[0].error[b] + labels.sensitivity[1][i] * costs[1].error[b];
}

std::vector<std::uint8_t> classes_at(const PaperLabels& labels, const SideCosts& costs, double price) {
  std::vector<std::uint8_t> classes;
  for (std::size_t i = 0; i < labels.sensitivity[0].size(); ++i) {
    std::uint8_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (std::uint8_t b = 0; b < kClasses; ++b) {
      const double cost = harm(labels, costs, i, b) + price * costs[0].bits[b];
      if (cost < least) best = b;
      least = std::min(least, cost);
    }
    classes.push_back(best);
  }
  return classes;
}

std::vector<std::uint8_t> priced(const PaperLabels& labels, const SideCosts& costs, double bits) {
  double low = -100;
  double high = 100;
  constexpr int kHalvings = 50;
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (low + high) / 2;
    double sum = 0;
    const auto classes = classes_at(labels, costs, std::exp(middle));
    for (const std::uint8_t b : classes) sum += costs[0].bits[b];
    (sum > bits * static_cast<double>(classes.size()) ? low : high) = middle;
  }
  return classes_at(labels, costs, std::exp(high));
}

std::vector<std::uint8_t> quartiles(const PaperLabels& labels, const SideCosts& costs) {
  const std::size_t n = labels.sensitivity[0].size();
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return harm(labels, costs, a, 0) < harm(labels, costs, b, 0);
  });
  std::vector<std::uint8_t> classes(n);
  for (std::size_t rank = 0; rank < n; ++rank)
    classes[order[rank]] = static_cast<std::uint8_t>(rank * kClasses / n);
  return classes;
}

PaperLoss loss_of(const PaperLabels& labels, const SideCosts& costs, const PaperOptions& options) {
  PaperLoss loss{options.alpha, options.beta, options.gamma, options.latency, {}};
  std::array<double, kClasses> harms{};
  for (std::size_t b = 0; b < kClasses; ++b) {
    for (std::size_t i = 0; i < labels.classes.size(); ++i) harms[b] += harm(labels, costs, i, b);
  }
  const bool measured =
      std::any_of(loss.latency.begin(), loss.latency.end(), [](double c) { return c != 0; });
  for (std::size_t b = 0; b < kClasses; ++b) {
    if (!measured) loss.latency[b] = costs[0].bits[b] / costs[0].bits.back();
    loss.quality[b] = harms[0] == 0 ? 1 : 1 - harms[b] / harms[0];
  }
  return loss;
}

/// Rows of one part of the split.
struct Part {
  std::vector<float> x;
  std::vector<std::uint8_t> classes;

  void add(std::span<const float> row, std::uint8_t wanted) {
    x.insert(x.end(), row.begin(), row.end());
    classes.push_back(wanted);
  }
};

struct Split {
  Part train;
  Part validation;
};

Split split(std::span<const float> x, const std::vector<std::uint8_t>& classes, std::mt19937_64& random) {
  Split parts;
  std::array<std::size_t, kClasses> seen{};
  for (const std::size_t i : shuffled(classes.size(), random)) {
    Part& part =
        seen[classes[i]]++ % kValidationShare == kValidationShare - 1 ? parts.validation : parts.train;
    part.add(x.subspan(i * kInputs, kInputs), classes[i]);
  }
  return parts;
}

void train_epoch(const Part& part, const PaperLoss& loss, const PaperOptions& options,
                 std::mt19937_64& random, Adam& adam) {
  std::vector<float> gradient(PaperNetwork::kSize);
  const auto order = shuffled(part.classes.size(), random);
  for (std::size_t first = 0; first < order.size(); first += options.batch) {
    Part batch;
    for (std::size_t i = first; i < std::min(first + options.batch, order.size()); ++i)
      batch.add(std::span(part.x).subspan(order[i] * kInputs, kInputs), part.classes[order[i]]);
    PaperNetwork::loss(adam.values(), batch.x, batch.classes, loss, gradient);
    adam.step(gradient, options.rate);
  }
}

std::vector<float> slice(std::span<const float> parameters, std::size_t first, std::size_t end) {
  const auto part = parameters.subspan(first, end - first);
  return {part.begin(), part.end()};
}

}  // namespace

PaperLabels paper_labels(const Sensitivities& truth, const SideCosts& costs, const PaperOptions& options) {
  PaperLabels labels;
  for (std::size_t side = 0; side < 2; ++side) {
    labels.sensitivity[side].resize(truth.n);
    for (std::size_t layer = 0; layer < truth.n_layers; ++layer) {
      for (std::size_t head = 0; head < truth.n_kv_heads; ++head) {
        const auto log_s = truth.of(side, layer, head);
        for (std::size_t i = 0; i < truth.n; ++i)
          labels.sensitivity[side][i] += std::exp(static_cast<double>(log_s[i]));
      }
    }
  }
  labels.classes = options.labels == PaperOptions::Labels::kPrice ? priced(labels, costs, options.label_bits)
                                                                  : quartiles(labels, costs);
  return labels;
}

policy::PaperController fit_paper(const TraceSource& traces, const Sensitivities& truth,
                                  const SideCosts& costs, const PaperOptions& options) {
  const PaperLabels labels = paper_labels(truth, costs, options);
  const PaperLoss loss = loss_of(labels, costs, options);
  policy::PaperController controller;
  std::vector<float> x = token_signals(traces);
  normalise(x, controller);
  std::mt19937_64 random(options.seed);
  const Split parts = split(x, labels.classes, random);
  Adam adam(PaperNetwork::initial(options.seed));
  std::vector<float> best(adam.values().begin(), adam.values().end());
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t epoch = 0; epoch < options.epochs; ++epoch) {
    train_epoch(parts.train, loss, options, random, adam);
    const Part& judge = parts.validation.classes.empty() ? parts.train : parts.validation;
    const double found = PaperNetwork::loss(adam.values(), judge.x, judge.classes, loss, {});
    if (!(found < least)) continue;
    least = found;
    best.assign(adam.values().begin(), adam.values().end());
  }
  using Net = PaperNetwork;
  controller.w1 = slice(best, Net::kW1, Net::kB1);
  controller.b1 = slice(best, Net::kB1, Net::kW2);
  controller.w2 = slice(best, Net::kW2, Net::kB2);
  controller.b2 = slice(best, Net::kB2, Net::kW3);
  controller.w3 = slice(best, Net::kW3, Net::kB3);
  controller.b3 = slice(best, Net::kB3, Net::kSize);
  return controller;
}

}  // namespace miser::learn
