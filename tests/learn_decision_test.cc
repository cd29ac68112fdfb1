// The loss of a decision, the fits of one head, and the paper's network: against definitions in brute force,
// finite differences, and NumPy.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "learn/decision_loss.h"
#include "learn/fit_linear.h"
#include "learn/paper_network.h"

namespace miser::learn {
namespace {

const WidthCosts kCosts{{0.55, 0.13, 0.03, 0.007, 4e-5, 0}, {1.3, 2.3, 3.3, 4.3, 8.3, 16}};
constexpr double kLow = -14;
constexpr double kHigh = -10;
constexpr double kTemperature = 0.25;

/// The cost of a prediction f of the truth y at one price, as the header defines it.
double cost_at_price(double f, double y, double log_price) {
  double sum = 0;
  double cost = 0;
  for (std::size_t b = 0; b < kCosts.bits.size(); ++b) {
    const auto harm = [&](double z) { return std::exp(z - log_price) * kCosts.error[b] + kCosts.bits[b]; };
    const double weight = std::exp(-harm(f) / kTemperature);
    sum += weight;
    cost += weight * harm(y);
  }
  return cost / sum;
}

double mean_cost(double f, double y) {
  constexpr int kPrices = 4000;
  double sum = 0;
  for (int i = 0; i < kPrices; ++i) sum += cost_at_price(f, y, kLow + (kHigh - kLow) * (i + 0.5) / kPrices);
  return sum / kPrices;
}

TEST(DecisionLoss, IsTheMeanCostOverPrices) {
  const DecisionLoss loss(kCosts, kLow, kHigh, kTemperature);
  for (double f = -18; f <= -6; f += 1.7) {
    for (double y = -20; y <= -4; y += 2.3) {
      const double expected = mean_cost(f, y);
      EXPECT_NEAR(loss.value(f, y), expected, 2e-3 * expected) << f << " " << y;
    }
  }
}

TEST(DecisionLoss, SlopeIsTheDerivativeOfTheMeanCost) {
  const DecisionLoss loss(kCosts, kLow, kHigh, kTemperature);
  constexpr double kStep = 1e-3;
  for (double f = -18; f <= -6; f += 1.7) {
    for (double y = -20; y <= -4; y += 2.3) {
      const double expected = (mean_cost(f + kStep, y) - mean_cost(f - kStep, y)) / (2 * kStep);
      EXPECT_NEAR(loss.slope(f, y), expected, 5e-3 * std::abs(expected) + 1e-5) << f << " " << y;
    }
  }
}

TEST(DecisionLoss, CountsNoVectorAsMoreThanTheLimitOfPrices) {
  const DecisionLoss loss(kCosts, kLow, kHigh, kTemperature);
  EXPECT_EQ(loss.value(-12, kHigh + 12), loss.value(-12, kHigh + 50));
  EXPECT_LT(loss.value(-12, kHigh + 11), loss.value(-12, kHigh + 12));
}

/// The rows and labels of tests/reference/ridge_reference.py.
void ridge_example(SignalRows& rows, std::vector<float>& labels) {
  for (int i = 0; i < 200; ++i) {
    std::array<double, 3> x{};
    for (int c = 0; c < 3; ++c) x[c] = std::sin(1.3 * i + 2.1 * c + 0.4 * i * c);
    rows.add(std::array{static_cast<float>(x[0]), static_cast<float>(x[1]), static_cast<float>(x[2])});
    const double y = x[0] - 0.5 * x[1] + 0.25 * x[2] + std::cos(0.7 * i) - 8;
    labels.push_back(static_cast<float>(i % 50 == 0 ? -30 : y));
  }
}

TEST(Ridge, EqualsNumPy) {
  SignalRows rows(3);
  std::vector<float> labels;
  ridge_example(rows, labels);
  const LinearFit fit = fit_ridge(rows, labels, 20);
  EXPECT_NEAR(fit.weights[0], 0.828567, 1e-4);
  EXPECT_NEAR(fit.weights[1], -0.420316, 1e-4);
  EXPECT_NEAR(fit.weights[2], 0.218901, 1e-4);
  EXPECT_NEAR(fit.bias, -7.677529, 1e-4);
}

TEST(Standardiser, CentresScalesAndClips) {
  SignalRows rows(2);
  for (int i = 0; i < 100; ++i) rows.add(std::array{i % 2 == 0 ? 1.0F : 3.0F, i == 0 ? 1000.0F : 0.0F});
  const Standardiser standard = Standardiser::of(rows);
  standard.apply(rows);
  EXPECT_NEAR(rows.row(2)[0], -1, 1e-5);
  EXPECT_NEAR(rows.row(3)[0], 1, 1e-5);
  EXPECT_EQ(rows.row(0)[1], 6);  // 9.9 deviations
  EXPECT_EQ(rows.row(0)[2], 0);  // padding
}

/// Vectors whose expected sensitivity is exp(x0 - 12), but where x1 > 0 nine of ten have almost none and the
/// tenth has all of it: the mean of ln s misjudges them by far.
struct HeavyTailed {
  explicit HeavyTailed(std::uint64_t seed) : rows(2) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    for (int i = 0; i < 4000; ++i) {
      const std::array x{2 * normal(random), normal(random)};
      rows.add(x);
      const float expected = x[0] - 12;
      const bool rare = random() % 10 == 0;
      log_s.push_back(x[1] <= 0 ? expected : rare ? expected + std::log(10.0F) : expected - 12);
      best.push_back(expected);
    }
  }
  SignalRows rows;
  std::vector<float> log_s;
  std::vector<float> best;  ///< ln E[s | x]
};

double mean_loss(const HeavyTailed& data, const DecisionLoss& loss, const LinearFit& fit) {
  double sum = 0;
  for (std::size_t i = 0; i < data.rows.size(); ++i)
    sum += loss.value(fit.predict(data.rows.row(i)), data.log_s[i]);
  return sum / static_cast<double>(data.rows.size());
}

TEST(DecisionFit, ComesCloseToTheBestFunctionWhereTheRidgeIsMisled) {
  const DecisionLoss loss(kCosts, kLow, kHigh, kTemperature);
  const HeavyTailed train(1);
  const HeavyTailed test(2);
  const LinearFit ridge = fit_ridge(train.rows, train.log_s, 20);
  const LinearFit decision = fit_decision(train.rows, train.log_s, loss, ridge, {.epochs = 100});
  double best = 0;
  for (std::size_t i = 0; i < test.best.size(); ++i) best += loss.value(test.best[i], test.log_s[i]);
  best /= static_cast<double>(test.best.size());
  const double least = kCosts.bits[0];  // all at the lowest price: no choice can cost less
  EXPECT_LT(mean_loss(test, loss, decision) - least, 1.03 * (best - least));
  EXPECT_GT(mean_loss(test, loss, ridge) - least, 1.15 * (best - least));
}

TEST(PaperNetwork, GradientIsThatOfFiniteDifferences) {
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(64 * PaperNetwork::kInputs);
  for (float& value : x) value = normal(random);
  std::vector<std::uint8_t> classes;
  for (int i = 0; i < 64; ++i) classes.push_back(static_cast<std::uint8_t>(random() % 4));
  const PaperLoss loss{0.8, 0.5, 0.7, {0.1, 0.3, 0.5, 1}, {0, 0.8, 0.99, 1}};
  std::vector<float> parameters = PaperNetwork::initial(1);
  std::vector<float> gradient(PaperNetwork::kSize);
  PaperNetwork::loss(parameters, x, classes, loss, gradient);
  constexpr float kStep = 2e-3F;  // float rounding and the kinks of ReLU both stay below 2 % of a gradient
  for (const std::size_t first : {PaperNetwork::kW1, PaperNetwork::kB1, PaperNetwork::kW2, PaperNetwork::kB2,
                                  PaperNetwork::kW3, PaperNetwork::kB3}) {
    for (const std::size_t i : {first, first + 3}) {
      const float kept = parameters[i];
      parameters[i] = kept + kStep;
      const double above = PaperNetwork::loss(parameters, x, classes, loss, {});
      parameters[i] = kept - kStep;
      const double below = PaperNetwork::loss(parameters, x, classes, loss, {});
      parameters[i] = kept;
      const double expected = (above - below) / (2.0 * static_cast<double>(kStep));
      EXPECT_NEAR(gradient[i], expected, 0.02 * std::abs(expected) + 1e-4) << i;
    }
  }
}

TEST(PaperNetwork, HasTheParametersOfThePaper) {
  EXPECT_EQ(PaperNetwork::kSize, 17668U);
}

}  // namespace
}  // namespace miser::learn
