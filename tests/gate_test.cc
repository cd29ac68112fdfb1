// Whether the gate measures what it says: groups of vectors, their KL through the cache, and the
// correlations.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "eval/gate_result.h"
#include "eval_kl_bench.h"
#include "learn/correlation.h"
#include "learn/spread.h"
#include "tiny_plan.h"

namespace miser::eval {
namespace {

using learn::pearson;
using learn::spearman;

TEST(Correlation, OfHandMadeRanksWithTies) {
  // Ranks 0, 1.5, 1.5, 3 and 1, 2.5, 2.5, 0: deviations -1.5, 0, 0, 1.5 and -0.5, 1, 1, -1.5.
  EXPECT_NEAR(spearman(std::array{1.0, 2.0, 2.0, 3.0}, std::array{10.0, 20.0, 20.0, 5.0}), -1.0 / 3, 1e-12);
  // scipy.stats.spearmanr and pearsonr.
  const std::array a{3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0};
  const std::array b{2.0, 7.0, 1.0, 8.0, 2.0, 8.0, 1.0, 8.0};
  EXPECT_NEAR(spearman(a, b), 0.19885368120992, 1e-12);
  EXPECT_NEAR(pearson(a, b), 0.20965531907301, 1e-12);
}

TEST(Correlation, SeesOrderAloneOrTheLine) {
  std::vector<double> x(20);
  std::iota(x.begin(), x.end(), 1.0);
  std::vector<double> y = x;
  for (double& value : y) value = std::exp(value);
  EXPECT_DOUBLE_EQ(spearman(x, y), 1);
  EXPECT_LT(pearson(x, y), 0.7);
  for (double& value : y) value = -2 * std::log(value);
  EXPECT_DOUBLE_EQ(spearman(x, y), -1);
  EXPECT_NEAR(pearson(x, y), -1, 1e-12);
  EXPECT_EQ(spearman(x, std::vector<double>(20, 3)), 0);
}

TEST(Spread, SeparatesHeadsFromTokens) {
  // One layer of two heads and two tokens. K: means 1 and 6, variances 1 and 4.
  const learn::Sensitivities s{1, 2, 2, {0, 2, 4, 8, 5, 5, 5, 5}};
  const auto [k, v] = learn::spread(s);
  EXPECT_NEAR(k.within, std::sqrt(2.5), 1e-12);
  EXPECT_NEAR(k.between, 2.5, 1e-12);
  EXPECT_EQ(v.within, 0);
  EXPECT_EQ(v.between, 0);
  const learn::Sensitivities other{1, 2, 2, {1, 9, 3, 1, 5, 6, 7, 8}};
  const auto correlation = learn::correlation_within_heads(s, other);
  EXPECT_NEAR(correlation[0], 0, 1e-12) << "one head rises with it, the other falls";
  EXPECT_EQ(correlation[1], 0);
}

TEST(GateGroups, DifferInSizeOrInNothingButTheirVectors) {
  constexpr std::size_t kVectors = 20000;
  const auto groups = draw_groups(kVectors, 10, 3);
  ASSERT_EQ(groups.size(), 20U);
  std::vector<std::map<kv::Width, int>> all;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    std::set<std::size_t> vectors;
    std::map<kv::Width, int> counts;
    for (const GateChoice& choice : groups[i].choices) {
      EXPECT_LT(choice.vector, kVectors);
      EXPECT_NE(choice.width, kv::Width::k16);
      vectors.insert(choice.vector);
      ++counts[choice.width];
    }
    EXPECT_EQ(vectors.size(), groups[i].choices.size()) << "a vector was drawn twice";
    EXPECT_EQ(groups[i].kind, i < 10 ? GroupKind::kWide : GroupKind::kAlike);
    all.push_back(counts);
  }
  for (std::size_t i = 1; i < 10; ++i) EXPECT_GT(groups[i].choices.size(), groups[i - 1].choices.size());
  for (std::size_t i = 11; i < 20; ++i) EXPECT_EQ(all[i], all[10]);
  EXPECT_LT(groups[0].choices.size(), 40U);
  EXPECT_GT(groups[9].choices.size(), kVectors / 8);
  const auto same = draw_groups(kVectors, 10, 3);
  const auto other = draw_groups(kVectors, 10, 4);
  EXPECT_EQ(same[5].choices[7].vector, groups[5].choices[7].vector);
  EXPECT_NE(other[15].choices[7].vector, groups[15].choices[7].vector);
}

TEST(GateGroups, PredictionIsTheSumOfSensitivityTimesFutureTimesError) {
  policy::Plan plan;
  plan.error[0] = {0.5F, 0.25F, 0.1F, 0.01F, 0, 0};
  plan.error[1] = {0.4F, 0.2F, 0.1F, 0.01F, 0, 0};
  const float two = std::log(2.0F);
  const learn::Sensitivities s{1, 1, 2, {0, two, two, two}};  // K of two tokens, then V
  const std::array future{10.0F, 4.0F};
  const GateGroup group{GroupKind::kWide, {{1, kv::Width::k2}, {2, kv::Width::k1}, {3, kv::Width::k8}}};
  EXPECT_NEAR(predicted_kl(group, s, future, plan), 2 * 4 * 0.25 + 2 * 10 * 0.4, 1e-5);
}

/// A tiny model and a random plan of its shape.
struct Gate {
  Gate() : bench("f32_long") {
    const ModelConfig& c = bench.model.config();
    plan = test::tiny_plan({"tiny", 1, c.n_layers, c.n_heads, c.n_kv_heads, c.head_dim});
  }

  learn::Trace trace(std::size_t n_samples) {
    return learn::trace_context(bench.model, bench.pool, bench.context(0, kLength),
                                {plan.window, plan.block, 4, n_samples, 1});
  }
  std::vector<double> measure(const std::vector<GateGroup>& groups, const learn::Trace& trace) {
    return *measured_kl(bench.model, bench.pool, groups, trace, plan, go_on);
  }
  GateRecord run(GateOptions options) {
    options.plan = std::make_shared<const policy::Plan>(plan);
    return *GateRun(bench.model, bench.pool, options).run(0, bench.context(0, kLength), go_on);
  }

  static constexpr std::size_t kLength = 400;
  Bench bench;
  policy::Plan plan;
};

/// Indices of `values`, the largest first.
std::vector<std::size_t> descending(std::span<const double> values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
  return order;
}

// Labels by brute force: one vector is quantised, and what it costs is measured.
TEST(GateRun, KlOfSingleVectorsIsWhatTheirSensitivitiesSay) {
  Gate gate;
  const learn::Trace trace = gate.trace(32);
  const auto s = learn::sensitivities(trace, {gate.plan.centre_k, gate.plan.centre_v}, trace.n);
  std::vector<GateGroup> groups;
  std::vector<double> expected;
  for (std::size_t i = 0; i < s.log_s.size(); i += 7) {
    groups.push_back({GroupKind::kWide, {{i, kv::Width::k1}}});
    expected.push_back(predicted_kl(groups.back(), s, trace.future, gate.plan) / Gate::kLength);
  }
  const std::vector<double> measured = gate.measure(groups, trace);
  // The error of one vector has one direction, of which the prediction knows only the mean over all.
  EXPECT_GT(spearman(measured, expected), 0.8);
  const double ratio = std::accumulate(measured.begin(), measured.end(), 0.0) /
                       std::accumulate(expected.begin(), expected.end(), 0.0);
  EXPECT_NEAR(ratio, 1, 0.25);
}

// The order is known: each group holds the one before it, or the most sensitive vectors rather than the
// least.
TEST(GateRun, KlOfPlantedGroupsHasTheirOrder) {
  Gate gate;
  const learn::Trace trace = gate.trace(16);
  const auto s = learn::sensitivities(trace, {gate.plan.centre_k, gate.plan.centre_v}, trace.n);
  std::vector<double> total;
  for (std::size_t i = 0; i < s.log_s.size(); ++i)
    total.push_back(predicted_kl({GroupKind::kWide, {{i, kv::Width::k2}}}, s, trace.future, gate.plan));
  const auto order = descending(total);
  std::vector<GateGroup> nested(6);
  std::vector<GateGroup> tenths(10, {GroupKind::kAlike, {}});
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (std::size_t g = 0; g < nested.size(); ++g) {
      if (i % 64 < (std::size_t{2} << g)) nested[g].choices.push_back({order[i], kv::Width::k2});
    }
    tenths[10 * i / order.size()].choices.push_back({order[i], kv::Width::k2});
  }
  const auto rising = gate.measure(nested, trace);
  EXPECT_TRUE(std::is_sorted(rising.begin(), rising.end()));
  const auto falling = gate.measure(tenths, trace);
  EXPECT_GT(falling[0], 2 * falling[1]);
  EXPECT_GT(falling[0], 100 * falling[9]);
  EXPECT_TRUE(std::is_sorted(falling.rbegin(), falling.rend()));
}

TEST(GateRun, VectorsOfNoGroupStayExact) {
  Gate gate;
  const learn::Trace trace = gate.trace(1);
  const auto measured =
      gate.measure({{GroupKind::kWide, {}}, {GroupKind::kWide, {{0, kv::Width::k1}}}}, trace);
  EXPECT_EQ(measured[0], 0);
  EXPECT_GT(measured[1], 0);
}

TEST(GateRun, PassesWithTracedSensitivitiesAndFailsWithTheirReverse) {
  Gate gate;
  // The controller knows nothing but that it is all the other way round.
  gate.plan.linear->signals = {"received"};
  const std::size_t heads = gate.plan.linear->bias.size() / 2;
  gate.plan.linear->mean.assign(heads, 0);
  gate.plan.linear->deviation.assign(heads, 1);
  gate.plan.linear->bias.assign(2 * heads, -8);
  gate.plan.linear->weights.assign(2 * heads, -1);
  const GateRecord record = gate.run({nullptr, 24, 8, 5});
  const nlohmann::json header = {{"context", Gate::kLength},
                                 {"samples", 8},
                                 {"kv_window", 32},
                                 {"kv_block", 32},
                                 {"plan", {{"name", "tiny"}}}};
  const auto result = gate_result(header, {record, record});
  EXPECT_TRUE(result.at("passed"));
  EXPECT_EQ(result.at("done"), 2);
  EXPECT_EQ(result.at("points").size(), 2U * 48);
  const auto& alike = result.at("groups").at("alike");
  EXPECT_GT(result.at("groups").at("wide").at("traced").at("spearman"), 0.95);
  EXPECT_GT(alike.at("traced").at("spearman"), 0.6);
  EXPECT_LT(alike.at("predicted").at("spearman"), alike.at("traced").at("spearman"));
  EXPECT_NEAR(result.at("groups").at("wide").at("traced").at("ratio"), 1, 0.3);
  EXPECT_LT(result.at("spread").at("k").at("correlation"), 0);
  // Two equal contexts: whatever is drawn is the same.
  const auto& interval = alike.at("traced").at("ci95").at("spearman");
  EXPECT_EQ(interval[0], alike.at("traced").at("spearman"));
  EXPECT_EQ(interval[1], alike.at("traced").at("spearman"));
  EXPECT_EQ(gate_result(header, {record}).at("groups").at("alike").at("traced").at("ci95").at("ratio"),
            nullptr);
}

TEST(GateRun, SameSeedGivesTheSamePoints) {
  Gate gate;
  const GateOptions options{nullptr, 3, 2, 7};
  const GateRecord a = gate.run(options);
  const GateRecord b = gate.run(options);
  const GateRecord other = gate.run({nullptr, 3, 2, 8});
  for (std::size_t i = 0; i < a.points.size(); ++i) {
    EXPECT_EQ(a.points[i].measured, b.points[i].measured);
    EXPECT_EQ(a.points[i].traced, b.points[i].traced);
    EXPECT_NE(a.points[i].measured, other.points[i].measured);
  }
}

TEST(GateRun, StopsWithoutARecordWhenAsked) {
  Gate gate;
  GateRun run(gate.bench.model, gate.bench.pool, {std::make_shared<const policy::Plan>(gate.plan), 6, 1, 1});
  std::size_t steps = 0;
  ASSERT_TRUE(run.run(0, gate.bench.context(0, Gate::kLength), [&] { return ++steps > 0; }));
  EXPECT_EQ(steps, run.steps(Gate::kLength));
  steps = 0;
  EXPECT_FALSE(run.run(0, gate.bench.context(0, Gate::kLength), [&] { return ++steps < 5; }));
  EXPECT_EQ(steps, 5U);
}

}  // namespace
}  // namespace miser::eval
