#include "learn/fit_linear.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <random>

#include "base/divide_up.h"
#include "learn/fit_adam.h"
#include "learn/shuffled.h"

namespace miser::learn {
namespace {

constexpr std::size_t kLanes = SignalRows::kLanes;
constexpr float kClip = 6;
constexpr float kLeastDeviation = 1e-6F;
constexpr double kLowQuantile = 0.02;
constexpr double kRateFall = 0.95;      // of Adam's rate, from the first step to the last
constexpr double kAveragedFrom = 0.75;  // the share of the steps after which weights are averaged

/// Sum of products in kLanes lanes. REQUIRES: a multiple of kLanes.
float dot(std::span<const float> a, std::span<const float> b) {
  std::array<float, kLanes> lanes{};
  for (std::size_t i = 0; i < a.size(); i += kLanes) {
    for (std::size_t j = 0; j < kLanes; ++j) lanes[j] += a[i + j] * b[i + j];
  }
  return std::accumulate(lanes.begin(), lanes.end(), 0.0F);
}

/// The normal equations of a regression with an intercept in the last column.
struct NormalEquations {
  explicit NormalEquations(std::size_t n) : size(n), matrix(n * n), right(n) {}

  /// Solves them in place by Cholesky's factorisation; the solution is left in `right`. REQUIRES: a positive
  /// definite matrix.
  void solve();

  std::size_t size;
  std::vector<double> matrix;  ///< [size, size], the lower triangle
  std::vector<double> right;   ///< [size]
};

void NormalEquations::solve() {
  const auto at = [&](std::size_t r, std::size_t c) -> double& { return matrix[r * size + c]; };
  for (std::size_t r = 0; r < size; ++r) {
    for (std::size_t c = 0; c <= r; ++c) {
      double sum = at(r, c);
      for (std::size_t k = 0; k < c; ++k) sum -= at(r, k) * at(c, k);
      at(r, c) = r == c ? std::sqrt(sum) : sum / at(c, c);
    }
    for (std::size_t k = 0; k < r; ++k) right[r] -= at(r, k) * right[k];
    right[r] /= at(r, r);
  }
  for (std::size_t r = size; r-- > 0;) {
    for (std::size_t k = r + 1; k < size; ++k) right[r] -= at(k, r) * right[k];
    right[r] /= at(r, r);
  }
}

/// Lower triangle of X^T X, by tiles of rows that stay in the cache, each summed in float.
void add_gram(const SignalRows& rows, std::span<const float> label, NormalEquations& equations) {
  constexpr std::size_t kTile = 64;
  const std::size_t columns = rows.columns;
  std::vector<float> tile(rows.stride * rows.stride);
  std::vector<float> right(rows.stride);
  for (std::size_t first = 0; first < rows.size(); first += kTile) {
    std::fill(tile.begin(), tile.end(), 0.0F);
    std::fill(right.begin(), right.end(), 0.0F);
    for (std::size_t i = first; i < std::min(first + kTile, rows.size()); ++i) {
      const auto x = rows.row(i);
      for (std::size_t r = 0; r < columns; ++r) {
        float* const sum = &tile[r * rows.stride];
        for (std::size_t c = 0; c <= r; ++c) sum[c] += x[r] * x[c];
      }
      for (std::size_t c = 0; c < columns; ++c) {
        right[c] += x[c] * label[i];
        equations.matrix[columns * equations.size + c] += x[c];
      }
      equations.right[columns] += label[i];
    }
    for (std::size_t r = 0; r < columns; ++r) {
      for (std::size_t c = 0; c <= r; ++c)
        equations.matrix[r * equations.size + c] += tile[r * rows.stride + c];
      equations.right[r] += right[r];
    }
  }
  equations.matrix.back() = static_cast<double>(rows.size());
}

std::vector<float> lifted(std::span<const float> log_s) {
  std::vector<float> labels(log_s.begin(), log_s.end());
  const auto low =
      labels.begin() + static_cast<std::ptrdiff_t>(kLowQuantile * static_cast<double>(labels.size()));
  std::nth_element(labels.begin(), low, labels.end());
  const float least = *low;
  std::transform(log_s.begin(), log_s.end(), labels.begin(), [&](float y) { return std::max(y, least); });
  return labels;
}

/// Slope in f of the gamma deviance f + exp(y - f), which has the same minimum, ln E[s], is convex, and so
/// leads there from anywhere: the decision's slope all but vanishes where f is far too low.
double gamma_slope(double f, double y) {
  constexpr double kMostRatio = 30;
  return 1 - std::min(std::exp(y - f), kMostRatio);
}

/// Of the mean loss of a batch and the penalty, by the weights [stride] and the bias after them. Without a
/// `loss` it is the gamma deviance.
void mean_gradient(const SignalRows& rows, std::span<const float> log_s, std::span<const std::uint32_t> batch,
                   const DecisionLoss* loss, double penalty, std::span<const float> values,
                   std::span<float> gradient) {
  const auto weights = values.first(rows.stride);
  const double bias = values.back();
  for (std::size_t c = 0; c < rows.stride; ++c) gradient[c] = static_cast<float>(2 * penalty) * weights[c];
  gradient.back() = 0;
  for (const std::uint32_t i : batch) {
    const auto x = rows.row(i);
    const double f = bias + static_cast<double>(dot(x, weights));
    const auto y = static_cast<double>(log_s[i]);
    const double slope = loss == nullptr ? gamma_slope(f, y) : loss->slope(f, y);
    const auto factor = static_cast<float>(slope / static_cast<double>(batch.size()));
    for (std::size_t c = 0; c < rows.stride; ++c) gradient[c] += factor * x[c];
    gradient.back() += factor;
  }
}

}  // namespace

void SignalRows::add(std::span<const float> row) {
  assert(row.size() == columns);
  values.insert(values.end(), row.begin(), row.end());
  values.resize(values.size() + stride - columns);
}

Standardiser Standardiser::of(const SignalRows& rows) {
  const auto n = static_cast<double>(rows.size());
  std::vector<double> sum(rows.columns);
  std::vector<double> squares(rows.columns);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t c = 0; c < rows.columns; ++c) {
      const double x = rows.row(i)[c];
      sum[c] += x;
      squares[c] += x * x;
    }
  }
  Standardiser standard;
  for (std::size_t c = 0; c < rows.columns; ++c) {
    const double mean = sum[c] / n;
    standard.mean.push_back(static_cast<float>(mean));
    const double variance = std::max(squares[c] / n - mean * mean, 0.0);
    standard.deviation.push_back(static_cast<float>(std::sqrt(variance)) + kLeastDeviation);
  }
  return standard;
}

void Standardiser::apply(SignalRows& rows) const {
  for (std::size_t first = 0; first < rows.values.size(); first += rows.stride) {
    for (std::size_t c = 0; c < rows.columns; ++c) {
      float& x = rows.values[first + c];
      x = std::clamp((x - mean[c]) / deviation[c], -kClip, kClip);
    }
  }
}

float LinearFit::predict(std::span<const float> row) const {
  return bias + dot(row, weights);
}

LinearFit fit_ridge(const SignalRows& rows, std::span<const float> log_s, double ridge) {
  assert(rows.size() == log_s.size() && !log_s.empty());
  const auto labels = lifted(log_s);
  NormalEquations equations(rows.columns + 1);
  add_gram(rows, labels, equations);
  for (std::size_t c = 0; c < rows.columns; ++c) equations.matrix[c * equations.size + c] += ridge;
  equations.solve();
  LinearFit fit;
  fit.weights.assign(rows.stride, 0);
  std::copy_n(equations.right.begin(), rows.columns, fit.weights.begin());
  fit.bias = static_cast<float>(equations.right.back());
  double found = 0;
  double wanted = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    found += std::exp(static_cast<double>(fit.predict(rows.row(i))));
    wanted += std::exp(static_cast<double>(labels[i]));
  }
  fit.bias += static_cast<float>(std::log(wanted / found));
  return fit;
}

LinearFit fit_decision(const SignalRows& rows, std::span<const float> log_s, const DecisionLoss& loss,
                       const LinearFit& start, const DecisionOptions& options) {
  assert(rows.size() == log_s.size() && !log_s.empty());
  const std::size_t n = rows.size();
  const std::size_t stride = rows.stride;
  const std::size_t steps = options.epochs * divide_up(n, options.batch);
  std::mt19937_64 random(options.seed);
  std::vector<float> values = start.weights;
  values.push_back(start.bias);
  std::vector<double> sum(values.size());
  std::size_t summed = 0;
  Adam adam(std::move(values));
  std::vector<float> gradient(stride + 1);
  for (std::size_t step = 0; step < steps;) {
    const auto order = shuffled(n, random);
    for (std::size_t first = 0; first < n; first += options.batch, ++step) {
      const auto batch = std::span(order).subspan(first, std::min(options.batch, n - first));
      const double done = static_cast<double>(step) / static_cast<double>(steps);
      mean_gradient(rows, log_s, batch, done < options.gamma_share ? nullptr : &loss, options.penalty,
                    adam.values(), gradient);
      adam.step(gradient, options.rate * (1 - kRateFall * done));
      if (done < kAveragedFrom) continue;
      ++summed;
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += adam.values()[i];
    }
  }
  LinearFit fit;
  for (const double value : sum)
    fit.weights.push_back(static_cast<float>(value / static_cast<double>(summed)));
  fit.bias = fit.weights.back();
  fit.weights.pop_back();
  return fit;
}

}  // namespace miser::learn
