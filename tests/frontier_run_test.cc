// All arms of a frontier on a tiny model through the real cache.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "base/error.h"
#include "eval/frontier_result.h"
#include "eval/kl_run.h"
#include "eval_kl_bench.h"
#include "learn/position_rule.h"
#include "policy/plans.h"
#include "temporary_folder.h"
#include "tiny_plan.h"

namespace miser::eval {
namespace {

constexpr std::size_t kLength = 200;
constexpr std::size_t kSkip = 100;
const std::vector<double> kBudgets = {2.5, 4};

struct Frontier {
  Frontier() : bench("f32_long") {
    const ModelConfig& c = bench.model.config();
    const policy::PlanModel shape{"tiny", 1, c.n_layers, c.n_heads, c.n_kv_heads, c.head_dim};
    options.plan = std::make_shared<const policy::Plan>(test::tiny_plan(shape));
    options.session.plans = std::make_shared<const policy::Plans>(shape, options.plan, false);
    options.arms = frontier_arms({kAllArmKinds.begin(), kAllArmKinds.end()}, kBudgets, 2);
    options.n_samples = 2;
    options.skip = kSkip;
  }

  FrontierRun run() { return {bench.model, bench.pool, options}; }
  std::span<const std::int32_t> tokens(std::size_t context) const { return bench.context(context, kLength); }

  nlohmann::json header() const {
    const ModelConfig& c = bench.model.config();
    const std::size_t end = learn::PositionRule{32, 32}.exact_begin(kLength - 1);
    nlohmann::json header = {{"miser_eval", 1},
                             {"task", "frontier"},
                             {"texts", {{{"name", "a"}, {"contexts", 2}}}},
                             {"plan", {{"name", "tiny"}}},
                             {"context", kLength},
                             {"skip", kSkip},
                             {"budgets", kBudgets},
                             {"seeds", 2},
                             {"head_dim", c.head_dim},
                             {"packed_vectors", 2 * c.n_layers * c.n_kv_heads * (end - 4)},
                             {"kv_window", 32},
                             {"kv_block", 32}};
    for (const ArmKind kind : kAllArmKinds) header["arms"].push_back(name(kind));
    return header;
  }

  Bench bench;
  FrontierOptions options;
};

const ArmScores& find(const FrontierRecord& record, const std::string& label) {
  const auto at = std::find(record.arms.begin(), record.arms.end(), label);
  if (at == record.arms.end()) throw std::runtime_error("no arm " + label);
  return record.scores.arms[static_cast<std::size_t>(at - record.arms.begin())];
}

TEST(FrontierRun, ArmsEqualThoseOfPlainRunsWithThePlansCentres) {
  Frontier frontier;
  const auto record = frontier.run().run(0, frontier.tokens(0), false, go_on);
  SessionOptions session;
  session.plans = frontier.options.session.plans;
  session.kv_centres = {frontier.options.plan->centre_k, frontier.options.plan->centre_v};
  const std::vector<std::string> kv = {"f16",        "k3v2",       "rule",     "paper",
                                       "static@2.5", "received@4", "learned@4"};
  const auto plain = KlRun(frontier.bench.model, frontier.bench.pool, {kl_arms(kv, session), kSkip, nullptr})
                         .run(0, 0, frontier.tokens(0), go_on);
  for (std::size_t i = 0; i < kv.size(); ++i) {
    SCOPED_TRACE(kv[i]);
    EXPECT_EQ(find(*record, kv[i]).kl, plain->arms[i].kl);
    EXPECT_EQ(find(*record, kv[i]).bytes, plain->arms[i].bytes);
  }
  EXPECT_NE(find(*record, "k3v2/ls").kl, find(*record, "k3v2").kl);
  EXPECT_EQ(record->arms.size(), 1 + 8 + 8 + 2 + 3 * kBudgets.size()) << "no replays were asked for";
}

TEST(FrontierRun, ReplaysSpendWhatTheyAreComparedWith) {
  Frontier frontier;
  std::size_t steps = 0;
  FrontierRun run = frontier.run();
  const auto record = run.run(0, frontier.tokens(0), true, [&] { return ++steps > 0; });
  EXPECT_EQ(steps, run.steps(kLength, true));
  for (const std::string at : {"@2.5", "@4"}) {
    const ArmScores& learned = find(*record, "learned" + at);
    for (const std::string& other : {"shuffled" + at + "/1", "shuffled" + at + "/2", "inverted" + at}) {
      SCOPED_TRACE(other);
      EXPECT_EQ(find(*record, other).vectors_at, learned.vectors_at);
      EXPECT_NE(find(*record, other).kl, learned.kl);
    }
    EXPECT_NE(find(*record, "shuffled" + at + "/1").kl, find(*record, "shuffled" + at + "/2").kl);
  }
  const auto result = frontier_result({frontier.header(), {*record}});
  for (const auto& row : result.at("tables")[0].at("rows")) {
    if (row.at("kind") != "oracle") continue;
    const auto budget = row.at("budget").get<double>();
    EXPECT_LE(row.at("stored_bits").get<double>(), budget + 1e-3);
    EXPECT_GE(row.at("stored_bits").get<double>(), 0.97 * budget);
  }
}

TEST(FrontierRun, StopsWithoutARecordWhenAsked) {
  Frontier frontier;
  int steps = 0;
  EXPECT_FALSE(frontier.run().run(0, frontier.tokens(0), true, [&] { return ++steps < 30; }));
  EXPECT_EQ(steps, 30);
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Runs two contexts, the second with replays, with a state in `path`.
std::string run_all(Frontier& frontier, const std::string& path) {
  FrontierState state{frontier.header(), {}};
  FrontierWriter writer(path, state);
  FrontierRun run = frontier.run();
  for (std::size_t i = state.records.size(); i < 2; ++i) {
    state.records.push_back(*run.run(i, frontier.tokens(i), i == 1, go_on));
    writer.add(state.records.back());
  }
  return frontier_result(state).dump();
}

TEST(FrontierState, RunKilledAnywhereAndResumedEqualsTheUninterruptedRun) {
  Frontier frontier;
  frontier.options.arms = frontier_arms({ArmKind::kFixed, ArmKind::kLearned, ArmKind::kOracle}, {4}, 1);
  const test::TemporaryFolder folder;
  const std::string whole = run_all(frontier, folder.file("whole"));
  const std::string bytes = read(folder.file("whole"));
  for (const std::size_t size : {std::size_t{40}, bytes.find('\n') + 1, bytes.size() / 2, bytes.size()}) {
    std::ofstream(folder.file("cut"), std::ios::binary) << bytes.substr(0, size);
    EXPECT_EQ(run_all(frontier, folder.file("cut")), whole) << size;
    EXPECT_EQ(read(folder.file("cut")), bytes);
  }
}

TEST(FrontierState, OtherRunsAndBrokenLinesAreErrors) {
  Frontier frontier;
  const test::TemporaryFolder folder;
  const auto open = [&](const std::string& text) {
    std::ofstream(folder.file("state"), std::ios::binary) << text;
    FrontierState state{frontier.header(), {}};
    return test::error_of([&] { FrontierWriter(folder.file("state"), state); });
  };
  nlohmann::json other = frontier.header();
  other["seeds"] = 3;
  EXPECT_THAT(open(other.dump() + "\n"), testing::HasSubstr("seeds is 3, expected 2"));
  EXPECT_THAT(open(frontier.header().dump() + "\n{\"labels\": []}\n"), testing::HasSubstr("state:2: "));
  EXPECT_THAT(open("{\"task\": \"kl\"}\n"), testing::HasSubstr("expected the header of miser eval frontier"));
}

}  // namespace
}  // namespace miser::eval
