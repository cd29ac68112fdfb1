#include "learn/paper_network.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>
#include <random>

#include "nn/gemm.h"

namespace miser::learn {
namespace {

using Net = PaperNetwork;

/// What a batch leaves in each layer.
struct LayerOutputs {
  std::vector<float> first;   ///< [n, 128] after ReLU
  std::vector<float> second;  ///< [n, 128] after ReLU
  std::vector<float> scores;  ///< [n, 4]
};

/// [n, columns] = x [n, inputs] W^T + b.
std::vector<float> affine(std::span<const float> x, std::size_t inputs, const float* weights,
                          const float* bias, std::size_t columns) {
  const std::size_t n = x.size() / inputs;
  std::vector<float> out(n * columns);
  for (std::size_t i = 0; i < n; ++i) std::copy_n(bias, columns, &out[i * columns]);
  nn::gemm_nt(n, columns, inputs, 1, x.data(), inputs, weights, inputs, 1, out.data(), columns);
  return out;
}

void relu(std::vector<float>& x) {
  for (float& value : x) value = std::max(value, 0.0F);
}

LayerOutputs forward(std::span<const float> p, std::span<const float> x) {
  LayerOutputs a;
  a.first = affine(x, Net::kInputs, &p[Net::kW1], &p[Net::kB1], Net::kHidden);
  relu(a.first);
  a.second = affine(a.first, Net::kHidden, &p[Net::kW2], &p[Net::kB2], Net::kHidden);
  relu(a.second);
  a.scores = affine(a.second, Net::kHidden, &p[Net::kW3], &p[Net::kB3], Net::kClasses);
  return a;
}

std::array<double, Net::kClasses> softmax(const float* scores) {
  std::array<double, Net::kClasses> p{};
  const double largest = *std::max_element(scores, scores + Net::kClasses);
  double sum = 0;
  for (std::size_t k = 0; k < p.size(); ++k) sum += p[k] = std::exp(static_cast<double>(scores[k]) - largest);
  for (double& value : p) value /= sum;
  return p;
}

/// Loss of one row; `slope` [4] becomes its gradient by the scores, times `factor`.
double row_loss(const float* scores, std::uint8_t wanted, const PaperLoss& loss, double factor,
                float* slope) {
  const auto p = softmax(scores);
  double latency = 0;
  double quality = 0;
  for (std::size_t k = 0; k < p.size(); ++k) {
    latency += p[k] * loss.latency[k];
    quality += p[k] * loss.quality[k];
  }
  for (std::size_t k = 0; k < p.size(); ++k) {
    const double entropy = p[k] - (k == wanted ? 1 : 0);
    const double costs = loss.beta * (loss.latency[k] - latency) - loss.gamma * (loss.quality[k] - quality);
    slope[k] = static_cast<float>(factor * (loss.alpha * entropy + p[k] * costs));
  }
  constexpr double kLeast = 1e-300;
  return -loss.alpha * std::log(std::max(p[wanted], kLeast)) + loss.beta * latency +
         loss.gamma * (1 - quality);
}

/// Gradients of an affine layer: of its weights and bias from its input x [n, inputs] and slope [n, outputs].
void affine_gradient(std::span<const float> x, std::size_t inputs, std::span<const float> slope,
                     std::size_t outputs, float* weights, float* bias) {
  const std::size_t n = x.size() / inputs;
  std::vector<float> transposed(slope.size());
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < outputs; ++k) {
      transposed[k * n + i] = slope[i * outputs + k];
      bias[k] += slope[i * outputs + k];
    }
  }
  nn::gemm_nn(outputs, inputs, n, 1, transposed.data(), n, x.data(), inputs, 0, weights, inputs);
}

/// Slope of what went into an affine layer through ReLU: slope W where the input is positive.
std::vector<float> input_slope(std::span<const float> slope, std::size_t outputs, const float* weights,
                               const std::vector<float>& input, std::size_t inputs) {
  std::vector<float> out(input.size());
  nn::gemm_nn(input.size() / inputs, inputs, outputs, 1, slope.data(), outputs, weights, inputs, 0,
              out.data(), inputs);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = input[i] > 0 ? out[i] : 0.0F;
  return out;
}

void fill_normal(std::span<float> values, std::size_t inputs, std::mt19937_64& random) {
  const auto uniform = [&] { return (static_cast<double>(random() >> 11U) + 0.5) * 0x1.0p-53; };
  const double deviation = std::sqrt(2 / static_cast<double>(inputs));
  for (float& value : values) {  // Box & Muller 1958
    const double radius = std::sqrt(-2 * std::log(uniform()));
    value = static_cast<float>(deviation * radius * std::cos(2 * std::numbers::pi * uniform()));
  }
}

}  // namespace

std::vector<float> PaperNetwork::initial(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<float> p(kSize);
  fill_normal(std::span(p).subspan(kW1, kHidden * kInputs), kInputs, random);
  fill_normal(std::span(p).subspan(kW2, kHidden * kHidden), kHidden, random);
  fill_normal(std::span(p).subspan(kW3, kClasses * kHidden), kHidden, random);
  return p;
}

double PaperNetwork::loss(std::span<const float> parameters, std::span<const float> x,
                          std::span<const std::uint8_t> classes, const PaperLoss& loss,
                          std::span<float> gradient) {
  assert(parameters.size() == kSize && x.size() == kInputs * classes.size());
  const LayerOutputs a = forward(parameters, x);
  const double share = 1 / static_cast<double>(classes.size());
  std::vector<float> slope(a.scores.size());
  double sum = 0;
  for (std::size_t i = 0; i < classes.size(); ++i)
    sum += row_loss(&a.scores[i * kClasses], classes[i], loss, share, &slope[i * kClasses]);
  if (gradient.empty()) return sum * share;
  std::fill(gradient.begin(), gradient.end(), 0.0F);
  affine_gradient(a.second, kHidden, slope, kClasses, &gradient[kW3], &gradient[kB3]);
  slope = input_slope(slope, kClasses, &parameters[kW3], a.second, kHidden);
  affine_gradient(a.first, kHidden, slope, kHidden, &gradient[kW2], &gradient[kB2]);
  slope = input_slope(slope, kHidden, &parameters[kW2], a.first, kHidden);
  affine_gradient(x, kInputs, slope, kHidden, &gradient[kW1], &gradient[kB1]);
  return sum * share;
}

std::vector<std::uint8_t> PaperNetwork::classify(std::span<const float> parameters,
                                                 std::span<const float> x) {
  const auto scores = forward(parameters, x).scores;
  std::vector<std::uint8_t> classes;
  for (std::size_t i = 0; i < scores.size(); i += kClasses) {
    const auto row = scores.begin() + static_cast<std::ptrdiff_t>(i);
    classes.push_back(static_cast<std::uint8_t>(std::max_element(row, row + kClasses) - row));
  }
  return classes;
}

}  // namespace miser::learn
