// Intervals and tests of evaluations against SciPy, brute force and simulation.
#include "eval/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>

namespace miser::eval {
namespace {

// From tests/reference/eval_statistics.py (SciPy 1.14.1: binomtest, NumPy 1.26.4: quantile).
struct BinomialCase {
  std::size_t successes, n;
  double level, low, high;
};
constexpr BinomialCase kBinomial[] = {
    {0, 10, 0.95, 0.0, 0.3084971078187629},
    {10, 10, 0.95, 0.6915028921812371, 1.0},
    {3, 10, 0.95, 0.06673951117773447, 0.652452850060008},
    {421, 1000, 0.95, 0.39017067982756864, 0.452295772347519},
    {7799, 7800, 0.95, 0.999285896041935, 0.9999967541324705},
    {1, 200000, 0.95, 1.2658903163685184e-07, 2.785789856049785e-05},
    {100000, 200000, 0.95, 0.49780620694608485, 0.5021937930539151},
    {0, 10, 0.8, 0.0, 0.20567176527571843},
    {10, 10, 0.8, 0.7943282347242815, 1.0},
    {3, 10, 0.8, 0.11582527802976292, 0.5517308323835991},
    {421, 1000, 0.8, 0.40062110994713795, 0.44161083264569273},
    {7799, 7800, 0.8, 0.9995014102929164, 0.9999864923324644},
    {1, 200000, 0.8, 5.26802047036216e-07, 1.944846074106887e-05},
    {100000, 200000, 0.8, 0.49856468654179315, 0.5014353134582115},
};

struct McNemarCase {
  std::size_t only_a, only_b;
  double p;
};
constexpr McNemarCase kMcNemar[] = {
    {0, 1, 1.0},
    {0, 6, 0.03125},
    {1, 8, 0.0390625},
    {12, 30, 0.007915897334896727},
    {30, 12, 0.007915897334896727},
    {480, 520, 0.2174482932041411},
    {5000, 5400, 9.116949314540822e-05},
};

TEST(Statistics, BinomialIntervalsEqualSciPy) {
  for (const auto& c : kBinomial) {
    SCOPED_TRACE(testing::Message() << c.successes << " of " << c.n << " at " << c.level);
    const Interval found = binomial_interval(c.successes, c.n, c.level);
    // SciPy's root finder stops at 2e-12.
    EXPECT_NEAR(found.low, c.low, 2e-12 + 1e-9 * c.low);
    EXPECT_NEAR(found.high, c.high, 2e-12 + 1e-9 * c.high);
  }
}

TEST(Statistics, BinomialIntervalOfOneSuccessIsExactWhereSciPyIsNot) {
  // P(X >= 1) = 1 - (1 - p)^n = 0.1 has a closed form.
  const double expected = -std::expm1(std::log1p(-0.1) / 200000);
  EXPECT_NEAR(binomial_interval(1, 200000, 0.8).low, expected, 1e-9 * expected);
}

TEST(Statistics, McNemarEqualsSciPysExactTest) {
  for (const auto& c : kMcNemar) {
    SCOPED_TRACE(testing::Message() << c.only_a << " against " << c.only_b);
    EXPECT_NEAR(mcnemar_p(c.only_a, c.only_b), c.p, 1e-9 * c.p);
  }
}

TEST(Statistics, McNemarOfEqualCountsIsOne) {
  EXPECT_EQ(mcnemar_p(0, 0), 1.0);
  EXPECT_EQ(mcnemar_p(700, 700), 1.0);
}

TEST(Statistics, QuantilesEqualNumPy) {
  const std::vector<double> values = {3.5, -1.25, 8.0, 0.5, 0.5, 2.75, 100.0};
  const std::pair<double, double> expected[] = {{0.0, -1.25}, {0.1, -0.19999999999999984},
                                                {0.5, 2.75},  {0.77, 6.290000000000001},
                                                {1.0, 100.0}, {0.99, 94.47999999999996}};
  for (const auto& [q, value] : expected) EXPECT_NEAR(quantile(values, q), value, 1e-12 * std::abs(value));
  EXPECT_EQ(quantile({7.0}, 0.3), 7.0);
}

/// Ratios of sums over weights of all n^n draws with replacement, sorted.
template <std::size_t N>
std::vector<double> all_resamples(const std::array<double, N>& sums, const std::array<double, N>& weights) {
  std::vector<double> means;
  for (std::size_t code = 0; code < static_cast<std::size_t>(std::pow(N, N)); ++code) {
    double sum = 0;
    double weight = 0;
    for (std::size_t i = 0, rest = code; i < N; ++i, rest /= N) {
      sum += sums[rest % N];
      weight += weights[rest % N];
    }
    means.push_back(sum / weight);
  }
  std::sort(means.begin(), means.end());
  return means;
}

TEST(Bootstrap, IntervalEqualsThatOfAllResamples) {
  const std::array<double, 5> sums = {1.0, 9.0, -4.0, 25.5, 13.0};
  const std::array<double, 5> weights = {1.0, 3.0, 2.0, 7.0, 10.0};
  const auto means = all_resamples(sums, weights);
  // A mean may come from up to 120 of the 3125 draws, so a quantile lies between two ranks.
  const auto expect_quantile = [&](double value, double q) {
    constexpr double kError = 0.006;  // four standard errors, sqrt(0.1 * 0.9 / 40000) each
    const auto below = std::lower_bound(means.begin(), means.end(), value - 1e-9) - means.begin();
    const auto up_to = std::upper_bound(means.begin(), means.end(), value + 1e-9) - means.begin();
    EXPECT_LE(static_cast<double>(below) / static_cast<double>(means.size()), q + kError);
    EXPECT_GE(static_cast<double>(up_to) / static_cast<double>(means.size()), q - kError);
  };
  BootstrapOptions options;
  options.resamples = 40000;
  options.level = 0.8;
  const Interval found = bootstrap_mean(sums, weights, options);
  expect_quantile(found.low, 0.1);
  expect_quantile(found.high, 0.9);
  const Interval of_exp = bootstrap_exp_mean(sums, weights, options);
  EXPECT_EQ(of_exp.low, std::exp(found.low));
  EXPECT_EQ(of_exp.high, std::exp(found.high));
}

TEST(Bootstrap, DocumentsWithoutItemsChangeNothingButTheDraw) {
  const Interval found = bootstrap_mean(std::array{0.0, 6.0, 0.0}, std::array{0.0, 2.0, 0.0});
  EXPECT_EQ(found.low, 3.0);
  EXPECT_EQ(found.high, 3.0);
}

TEST(Bootstrap, SameSeedDrawsSameDocumentsForEveryArm) {
  std::mt19937_64 random(5);
  std::normal_distribution<double> normal;
  std::vector<double> a(30);
  std::vector<double> b(30);
  const std::vector<double> weights(30, 4.0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i] = normal(random);
    b[i] = a[i] + 8.0;
  }
  EXPECT_NEAR(bootstrap_mean(b, weights).low - bootstrap_mean(a, weights).low, 2.0, 1e-12);
  BootstrapOptions other;
  other.seed = 2;
  EXPECT_NE(bootstrap_mean(a, weights).low, bootstrap_mean(a, weights, other).low);
}

constexpr std::size_t kDataSets = 200;
constexpr std::size_t kDocuments = 60;
// Of 200 intervals at 95 %, 178 to 198 hold the truth with a probability of 0.998 (binomial); the percentile
// bootstrap over 60 documents covers one to two points less than its level, so the lower bound is 173.
constexpr std::size_t kLeast = 173;
constexpr std::size_t kMost = 198;

/// Intervals of `kDataSets` simulated evaluations that contain `truth`. Two arms share a document's
/// difficulty, which varies far more than the difference of the arms, of mean `effect`.
std::size_t covered(double effect, double truth) {
  std::mt19937_64 random(20);
  std::normal_distribution<double> normal;
  std::size_t n = 0;
  for (std::size_t set = 0; set < kDataSets; ++set) {
    std::vector<double> differences;
    std::vector<double> weights;
    for (std::size_t i = 0; i < kDocuments; ++i) {
      const double items = 50 + static_cast<double>(random() % 100);
      const double difficulty = 5 * normal(random);
      const double a = items * (difficulty + 0.1 * normal(random));
      const double b = items * (difficulty + 0.1 * normal(random) + effect);
      differences.push_back(b - a);
      weights.push_back(items);
    }
    BootstrapOptions options;
    options.seed = set;
    options.resamples = 1000;
    const Interval interval = bootstrap_mean(differences, weights, options);
    n += interval.low <= truth && truth <= interval.high ? 1 : 0;
  }
  return n;
}

TEST(Bootstrap, IntervalsOfEqualArmsContainZeroIn95Percent) {
  const std::size_t n = covered(0, 0);
  EXPECT_GE(n, kLeast);
  EXPECT_LE(n, kMost);
}

TEST(Bootstrap, IntervalsContainThePlantedDifferenceIn95Percent) {
  const std::size_t n = covered(0.1, 0.1);
  EXPECT_GE(n, kLeast);
  EXPECT_LE(n, kMost);
}

TEST(Bootstrap, PlantedDifferenceIsFoundDespiteTheSpreadOfDocuments) {
  // 0.1 is 1/50 of the documents' spread, but 5.5 standard errors of the paired difference.
  EXPECT_LE(covered(0.1, 0), 5U);
}

}  // namespace
}  // namespace miser::eval
