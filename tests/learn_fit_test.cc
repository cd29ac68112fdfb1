// Plans fitted on made-up traces whose sensitivities are known.
#include "learn/fit.h"

#include <gtest/gtest.h>

#include <cmath>

#include "learn/fit_costs.h"
#include "learn/fit_score.h"
#include "learn_traces.h"

namespace miser::learn {
namespace {

using test::source_of;
using test::TraceMaker;

/// s = exp(received + k[0] + offset) exactly.
double linear_truth(std::size_t side, double received, std::span<const float> k, std::mt19937_64&) {
  return 2 * received + static_cast<double>(k[0]) - 8 - static_cast<double>(side);
}

TraceMaker linear_maker() {
  TraceMaker maker;
  maker.log_s = linear_truth;
  return maker;
}

FitOptions options_of(Controller controller) {
  FitOptions options;
  options.controller = controller;
  options.linear.signals = {"received", "position", "k"};
  options.linear.decision.epochs = 60;
  return options;
}

policy::Plan fit(const TraceMaker& maker, Controller controller, int threads = 2) {
  nn::ThreadPool pool(threads);
  return fit_plan(source_of(maker, 3, 1), options_of(controller), pool, [](double) {});
}

PlanScore score(const policy::Plan& plan, const TraceMaker& maker) {
  nn::ThreadPool pool(2);
  constexpr std::array kBudgets = {2.0, 3.0, 4.5};
  return score_plan(plan, source_of(maker, 2, 100), kBudgets, pool);
}

/// Relative costs of one arm.
std::vector<double> costs_of(const PlanScore& score, const std::string& name) {
  for (const auto& arm : score.arms) {
    if (arm.name == name) return arm.relative_cost;
  }
  ADD_FAILURE() << "no arm " << name;
  return {};
}

TEST(MeanRows, AreTheCentres) {
  const Centres centres = mean_rows(source_of(linear_maker(), 3, 1));
  ASSERT_EQ(centres[0].size(), 2U * 2 * 64);
  const double error = 5 / std::sqrt(3.0 * 600);  // five standard errors
  for (const float c : centres[0]) EXPECT_NEAR(c, 0.5, error);
  for (const float c : centres[1]) EXPECT_NEAR(c, -0.5, error);
}

TEST(Sensitivities, AreFisherTimesNormPerFutureQuery) {
  const TraceMaker maker = linear_maker();
  const auto source = source_of(maker, 2, 1);
  const Centres centres = {std::vector<float>(256, 0.5F), std::vector<float>(256, -0.5F)};
  const Sensitivities all = all_sensitivities(source, centres);
  const Trace second = source.read(1);
  const std::size_t kept = kept_tokens(second);
  ASSERT_EQ(all.n, 2 * kept);
  for (const std::size_t i : {std::size_t{0}, kept - 1}) {
    const std::size_t layer = 1;
    const std::size_t head = 0;
    std::vector<float> k(64);
    nn::f16_to_f32(std::span(second.k).subspan(((layer * second.n + i) * 2 + head) * 64, 64), k);
    for (float& x : k) x -= 0.5F;
    const double received = std::log(second.received[(layer * second.n + i) * 4 + 2 * head]);
    std::mt19937_64 unused;
    EXPECT_NEAR(all.of(0, layer, head)[kept + i], linear_truth(0, received, k, unused), 0.01);
    EXPECT_NEAR(all.of(1, layer, head)[kept + i], linear_truth(1, received, k, unused), 0.01);
  }
}

TEST(KeptTokens, HaveAnEighthOfTheContextBehindThem) {
  const Trace trace = linear_maker().make(1);
  const std::size_t kept = kept_tokens(trace);
  EXPECT_GE(trace.future[kept - 1], static_cast<float>(trace.length) / 8);
  EXPECT_LT(trace.future[kept], static_cast<float>(trace.length) / 8);
}

TEST(CodecCosts, AreThoseOfGaussianVectors) {
  const TraceMaker maker = linear_maker();
  const Centres centres = {std::vector<float>(256, 0.5F), std::vector<float>(256, -0.5F)};
  const CodecCosts costs = codec_costs(source_of(maker, 2, 1), centres);
  // docs/codecs.md gives the errors r at least squares; an unbiased scale makes them r / (1 - r).
  const std::array<double, 5> table = {0.3579, 0.113, 0.02957, 0.007154, 3.519e-05};
  for (std::size_t w = 0; w < table.size(); ++w) {
    const double expected = w == 4 ? table[w] : table[w] / (1 - table[w]);
    EXPECT_NEAR(costs.error[0][w], expected, 0.03 * expected) << w;
    EXPECT_NEAR(costs.error[1][w], expected, 0.03 * expected) << w;
  }
  EXPECT_EQ(costs.error[0][5], 0);
  EXPECT_FLOAT_EQ(costs.stored_bits[1], 2.25F + 3.0F / 64);
  EXPECT_FLOAT_EQ(costs.stored_bits[5], 16 + 3.0F / 64);
}

TEST(FitPlan, FindsALinearTruth) {
  const TraceMaker maker = linear_maker();
  for (const Controller controller : {Controller::kLearned, Controller::kRidge}) {
    const PlanScore found = score(fit(maker, controller), maker);
    const auto learned = costs_of(found, "learned");
    const auto oracle = costs_of(found, "oracle");
    const auto plain = costs_of(found, "static");
    for (std::size_t i = 0; i < learned.size(); ++i) {
      EXPECT_LT(learned[i], 1.03 * oracle[i]) << found.budgets[i];
      EXPECT_LT(learned[i], 0.6 * plain[i]) << found.budgets[i];
    }
    EXPECT_GT(found.correlation[0], 0.99);
    EXPECT_GT(found.correlation[1], 0.99);
  }
}

/// Where k[1] > 0, one vector in ten is as important as all should be, and the others are of no importance.
double heavy_tailed(std::size_t side, double received, std::span<const float> k, std::mt19937_64& random) {
  std::mt19937_64 unused;
  const double expected = linear_truth(side, received, k, unused);
  if (k[1] <= 0) return expected;
  return random() % 10 == 0 ? expected + std::log(10) : expected - 10;
}

TEST(FitPlan, DecidesBetterThanTheRidgeWhereLabelsAreHeavyTailed) {
  TraceMaker maker;
  maker.log_s = heavy_tailed;
  const auto learned = costs_of(score(fit(maker, Controller::kLearned), maker), "learned");
  const auto ridge = costs_of(score(fit(maker, Controller::kRidge), maker), "learned");
  for (std::size_t i = 0; i < learned.size(); ++i) EXPECT_LT(learned[i], 0.9 * ridge[i]);
}

TEST(FitPlan, GivesPlantedImportantVectorsMoreBits) {
  TraceMaker maker;
  maker.log_s = [](std::size_t, double received, std::span<const float>, std::mt19937_64&) {
    return received > -1 ? -4.0 : -12.0;  // a sixth of the vectors
  };
  const policy::Plan plan = fit(maker, Controller::kLearned);
  const Trace trace = maker.make(50);
  nn::ThreadPool pool(2);
  const Sensitivities predicted = predicted_sensitivities(plan, trace, trace.n, pool);
  const auto log_s = predicted.of(0, 1, 0);
  const SideCosts costs = ladder_costs(plan);
  std::array<double, 2> bits{};
  std::array<double, 2> n{};
  for (std::size_t i = 0; i < trace.n; ++i) {
    const bool planted = std::log(trace.received[(trace.n + i) * 4]) > -1;
    bits[planted ? 1 : 0] += costs[0].bits[cheapest(costs[0], log_s[i], plan.price_log[3])];
    n[planted ? 1 : 0] += 1;
  }
  EXPECT_GT(bits[1] / n[1], bits[0] / n[0] + 1.5);
}

TEST(FitPlan, SharesFunctionsBetweenHeadsWhereAsked) {
  const TraceMaker maker = linear_maker();  // of all heads the same function
  nn::ThreadPool pool(2);
  FitOptions options = options_of(Controller::kLearned);
  for (const Share share : {Share::kHead, Share::kLayer, Share::kModel}) {
    options.linear.share = share;
    const policy::Plan plan = fit_plan(source_of(maker, 3, 1), options, pool, [](double) {});
    const auto& bias = plan.linear->bias;  // [2, two layers, two heads]
    EXPECT_EQ(bias[0] == bias[1] && bias[6] == bias[7], share != Share::kHead);
    EXPECT_EQ(bias[0] == bias[2] && bias[4] == bias[7], share == Share::kModel);
    EXPECT_NE(bias[0], bias[4]) << "K and V never share one";
    const PlanScore found = score(plan, maker);
    for (std::size_t i = 0; i < found.budgets.size(); ++i)
      EXPECT_LT(costs_of(found, "learned")[i], 1.03 * costs_of(found, "oracle")[i]);
  }
}

TEST(FitPlan, HasCentresOfZerosWhenNotCentred) {
  nn::ThreadPool pool(2);
  FitOptions options = options_of(Controller::kRidge);
  options.centred = false;
  const policy::Plan plan = fit_plan(source_of(linear_maker(), 3, 1), options, pool, [](double) {});
  EXPECT_EQ(plan.centre_k, std::vector<float>(256));
  EXPECT_EQ(plan.centre_v, std::vector<float>(256));
  // |x|^2 has an expectation of 64 + 64 * 0.5^2 in place of 64, of vectors that count most a little more.
  const policy::Plan centred = fit(linear_maker(), Controller::kRidge);
  EXPECT_NEAR(plan.mean_sensitivity[0] / centred.mean_sensitivity[0], 1.27, 0.05);
}

TEST(ScorePlan, PaperCostsWhatTheWidthsOfItsClassesCost) {
  const TraceMaker maker = linear_maker();
  policy::Plan plan = fit(maker, Controller::kPaper);
  EXPECT_TRUE(score(plan, maker).paper);
  plan.paper->w3.assign(plan.paper->w3.size(), 0);
  plan.paper->b3 = {0, 1, 0, 0};  // always 4 bits, which is a fixed pair
  const PlanScore four = score(plan, maker);
  EXPECT_FLOAT_EQ(static_cast<float>(four.paper->bits), plan.stored_bits[3]);
  EXPECT_GE(four.paper->relative_cost, 1);
  EXPECT_LT(four.paper->relative_cost, 1.3);
  plan.paper.reset();
  EXPECT_FALSE(score(plan, maker).paper);
}

TEST(FitPlan, GivesPricesThatMeetTheirBudgets) {
  const TraceMaker maker = linear_maker();
  const policy::Plan plan = fit(maker, Controller::kLearned);
  const SideCosts costs = ladder_costs(plan);
  ASSERT_EQ(plan.price_bits.size(), plan.price_log.size());
  ASSERT_GT(plan.price_bits.size(), 10U);
  // The truth is predicted almost exactly, so it is met at the same prices.
  const Sensitivities truth = all_sensitivities(source_of(maker, 3, 1), {plan.centre_k, plan.centre_v});
  for (std::size_t b = 0; b < plan.price_bits.size(); ++b) {
    double bits = 0;
    for (std::size_t i = 0; i < truth.log_s.size(); ++i) {
      const WidthCosts& side = costs[2 * i / truth.log_s.size()];
      bits += side.bits[cheapest(side, truth.log_s[i], plan.price_log[b])];
    }
    bits /= static_cast<double>(truth.log_s.size());
    EXPECT_NEAR(bits, plan.price_bits[b], 0.02 * plan.price_bits[b]);
  }
}

TEST(FitPlan, DoesNotDependOnThreads) {
  for (const Controller controller : {Controller::kLearned, Controller::kPaper}) {
    const policy::Plan one = fit(linear_maker(), controller, 1);
    const policy::Plan two = fit(linear_maker(), controller, 2);
    EXPECT_EQ(one.centre_k, two.centre_k);
    EXPECT_EQ(one.mean_sensitivity, two.mean_sensitivity);
    EXPECT_EQ(one.price_log, two.price_log);
    ASSERT_EQ(one.linear.has_value(), two.linear.has_value());
    if (one.linear) {
      EXPECT_EQ(one.linear->weights, two.linear->weights);
      EXPECT_EQ(one.linear->bias, two.linear->bias);
    } else {
      EXPECT_EQ(one.paper->w2, two.paper->w2);
    }
  }
}

}  // namespace
}  // namespace miser::learn
