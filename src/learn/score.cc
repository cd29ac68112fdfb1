#include "learn/score.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "learn/op_gradients.h"
#include "learn/rows.h"
#include "nn/gemm.h"
#include "nn/ops.h"

namespace miser::learn {
namespace {

constexpr std::size_t kRows = 256;    ///< whose logits are held at once: 50 MB at a vocabulary of 49,152
constexpr std::size_t kStrip = 1024;  ///< rows of the output matrix that are unpacked at once
constexpr std::size_t kGroups =
    8;  ///< of strips, each with a sum of its own: results do not depend on threads

std::uint64_t splitmix64(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111eb;
  return x ^ (x >> 31U);
}

double uniform(std::uint64_t seed, std::size_t position, std::size_t sample) {
  const std::uint64_t hash = splitmix64(splitmix64(splitmix64(seed) ^ position) ^ sample);
  return static_cast<double>(hash >> 11U) * 0x1p-53;
}

/// The output matrix and what a chunk of rows needs.
class Output {
 public:
  Output(const Model& model, nn::ThreadPool& pool, std::size_t n_samples, const Draw& draw)
      : model_(model), c_(model.config()), pool_(pool), n_samples_(n_samples), draw_(draw), sums_(kGroups) {}

  void add_rows(const std::vector<float>& x, std::size_t first, std::size_t n, Score& score);

 private:
  /// sums_[0] [n, n_embd] = probabilities W.
  void multiply_probabilities(std::size_t n);
  void multiply_group(std::size_t group, std::size_t n);

  const Model& model_;
  const ModelConfig& c_;
  nn::ThreadPool& pool_;
  std::size_t n_samples_;
  const Draw& draw_;
  std::vector<float> h_;                  ///< [n, n_embd]
  std::vector<float> logits_;             ///< [n, n_vocab], then probabilities
  std::vector<std::int32_t> y_;           ///< [n, n_samples]
  std::vector<std::vector<float>> sums_;  ///< kGroups times [n, n_embd]
};

void Output::add_rows(const std::vector<float>& x, std::size_t first, std::size_t n, Score& score) {
  h_.resize(n * c_.n_embd);
  logits_.resize(n * c_.n_vocab);
  y_.resize(n * n_samples_);
  for_rows(pool_, n, [&](std::size_t i) {
    nn::rms_norm(row_of(x, first + i, c_.n_embd), model_.output_norm(), c_.rms_epsilon,
                 row_of(h_, i, c_.n_embd));
  });
  const std::array<nn::Product, 1> output = {{{&model_.output(), logits_.data()}}};
  nn::multiply(output, h_.data(), n, pool_);
  for_rows(pool_, n, [&](std::size_t i) {
    const auto row = row_of(logits_, i, c_.n_vocab);
    score.signals[first + i] = policy::logit_signals(row);
    nn::scale(row, 1.0F / nn::exp_shifted(row, nn::max_of(row)));
    draw_(first + i, row, std::span(y_).subspan(i * n_samples_, n_samples_));
  });
  multiply_probabilities(n);
  for_rows(pool_, n, [&](std::size_t i) {
    const auto expected = row_of(sums_[0], i, c_.n_embd);
    const auto of_x = row_of(x, first + i, c_.n_embd);
    std::vector<float> dh(c_.n_embd);
    for (std::size_t s = 0; s < n_samples_; ++s) {
      model_.output().row(static_cast<std::size_t>(y_[i * n_samples_ + s]), dh);
      for (std::size_t d = 0; d < c_.n_embd; ++d) dh[d] -= expected[d];
      norm_gradient(of_x, model_.output_norm(), c_.rms_epsilon, dh,
                    row_of(score.gradient, (first + i) * n_samples_ + s, c_.n_embd));
    }
  });
}

void Output::multiply_probabilities(std::size_t n) {
  pool_.parallel_for(kGroups, [&](std::size_t group, int) { multiply_group(group, n); });
  for (std::size_t group = 1; group < kGroups; ++group) nn::add(sums_[group], sums_[0]);
}

void Output::multiply_group(std::size_t group, std::size_t n) {
  sums_[group].assign(n * c_.n_embd, 0.0F);
  std::vector<float> strip(kStrip * c_.n_embd);
  const std::size_t end = (group + 1) * c_.n_vocab / kGroups;
  for (std::size_t at = group * c_.n_vocab / kGroups; at < end; at += kStrip) {
    const std::size_t n_rows = std::min(kStrip, end - at);
    for (std::size_t r = 0; r < n_rows; ++r) model_.output().row(at + r, row_of(strip, r, c_.n_embd));
    nn::gemm_nn(n, c_.n_embd, n_rows, 1.0F, logits_.data() + at, c_.n_vocab, strip.data(), c_.n_embd, 1.0F,
                sums_[group].data(), c_.n_embd);
  }
}

}  // namespace

Draw draw_from_model(std::uint64_t seed) {
  return [seed](std::size_t position, std::span<const float> probabilities, std::span<std::int32_t> y) {
    std::vector<std::pair<double, std::size_t>> thresholds(y.size());
    const double total = std::accumulate(probabilities.begin(), probabilities.end(), 0.0);
    for (std::size_t s = 0; s < y.size(); ++s) thresholds[s] = {uniform(seed, position, s) * total, s};
    std::sort(thresholds.begin(), thresholds.end());
    std::fill(y.begin(), y.end(), static_cast<std::int32_t>(probabilities.size() - 1));  // should sums round
    std::size_t next = 0;
    double sum = 0;
    for (std::size_t v = 0; v < probabilities.size() && next < y.size(); ++v) {
      sum += probabilities[v];
      for (; next < y.size() && thresholds[next].first < sum; ++next)
        y[thresholds[next].second] = static_cast<std::int32_t>(v);
    }
  };
}

Score score_gradient(const Model& model, nn::ThreadPool& pool, const std::vector<float>& x,
                     std::size_t n_samples, const Draw& draw) {
  const std::size_t n_embd = model.config().n_embd;
  const std::size_t n = x.size() / n_embd;
  Score score;
  score.gradient.resize(n * n_samples * n_embd);
  score.signals.resize(n);
  Output output(model, pool, n_samples, draw);
  for (std::size_t at = 0; at < n; at += kRows) output.add_rows(x, at, std::min(kRows, n - at), score);
  return score;
}

}  // namespace miser::learn
