// Widths that are replayed, against brute force, and figures of made-up records, against sums by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "eval/frontier_groups.h"
#include "eval/frontier_result.h"
#include "eval/frontier_widths.h"
#include "temporary_folder.h"

namespace miser::eval {
namespace {

using kv::Width;
using policy::WidthTable;
using testing::HasSubstr;

constexpr std::size_t kTokens = 40;
constexpr Committed kCommitted{4, 36};

/// Widths that differ between heads; [4, 36) were decided.
WidthTable some_table() {
  WidthTable table(2, kTokens, 2);
  for (std::size_t i = kCommitted.begin; i < kCommitted.end; ++i) {
    for (std::size_t head = 0; head < 8; ++head)
      table.at(head / 4, head / 2 % 2, i, head % 2) = kv::kAllWidths[(i * i + head) % (2 + head % 4)];
  }
  return table;
}

/// Widths of all tokens of one (side, layer, head), numbered from 0.
std::vector<Width> of_head(const WidthTable& table, std::size_t head) {
  std::vector<Width> widths;
  for (std::size_t i = 0; i < kTokens; ++i) widths.push_back(table.at(head / 4, head / 2 % 2, i, head % 2));
  return widths;
}

TEST(Shuffled, PermutesTheDecidedTokensOfEachHead) {
  const WidthTable before = some_table();
  std::set<std::vector<Width>> seen;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const WidthTable after = shuffled(before, kCommitted, seed);
    for (std::size_t head = 0; head < 8; ++head) {
      std::vector<Width> old = of_head(before, head);
      std::vector<Width> now = of_head(after, head);
      EXPECT_NE(now, old);
      EXPECT_TRUE(seen.insert(now).second) << "two shuffles are alike";
      for (const std::size_t exact : {0, 3, 36, 39}) EXPECT_EQ(now[exact], Width::k16);
      std::sort(old.begin(), old.end());
      std::sort(now.begin(), now.end());
      EXPECT_EQ(now, old);
    }
    EXPECT_EQ(of_head(shuffled(before, kCommitted, seed), 5), of_head(after, 5));
  }
}

TEST(Inverted, GivesTheWidestTokenTheNarrowestWidth) {
  WidthTable table(1, 6, 1);
  const std::vector<Width> widths = {Width::k1, Width::k2, Width::k8, Width::k4};
  for (std::size_t i = 0; i < widths.size(); ++i) table.at(0, 0, 1 + i, 0) = widths[i];
  const WidthTable after = inverted(table, {1, 5});
  const std::vector<Width> expected = {Width::k16, Width::k8, Width::k4, Width::k1, Width::k2, Width::k16};
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(after.at(0, 0, i, 0), expected[i]) << i;
  EXPECT_EQ(of_head(inverted(some_table(), kCommitted), 0).front(), Width::k16);
}

constexpr std::size_t kDim = 8;
constexpr std::size_t kTraced = 4;

/// One head whose four tokens have very different sensitivities, and others in V than in K.
learn::Trace some_trace() {
  learn::Trace trace;
  trace.n_layers = trace.n_heads = trace.n_kv_heads = 1;
  trace.head_dim = kDim;
  trace.length = 8;
  trace.first = 1;
  trace.n = kTraced;
  trace.future = {4, 4, 4, 2};
  trace.fisher = {1, 100, 0.01F, 10, 3, 0.5F, 40, 0.002F};
  // 0.5 and 2 in binary16.
  trace.k.assign(kTraced * kDim, std::uint16_t{0x3800});
  trace.v.assign(kTraced * kDim, std::uint16_t{0x4000});
  return trace;
}

policy::Plan some_plan() {
  policy::Plan plan;
  plan.model = {"tiny", 1, 1, 1, 1, kDim};
  plan.centre_k.assign(kDim, 0.25F);
  plan.centre_v.assign(kDim, 0.0F);
  plan.error[0] = {0.36F, 0.114F, 0.0325F, 0.0089F, 3.5e-5F, 1e-7F};
  plan.error[1] = plan.error[0];
  plan.stored_bits = {1.3F, 2.3F, 3.3F, 4.3F, 8.3F, 16.05F};
  plan.ladder = {Width::k1, Width::k2, Width::k4};
  return plan;
}

/// Expected harm and bits of an assignment, straight from the definitions.
struct Cost {
  double harm = 0;
  double bits = 0;
};

template <class WidthOf>
Cost cost(const WidthOf& width_of) {
  const learn::Trace trace = some_trace();
  const policy::Plan plan = some_plan();
  Cost sum;
  for (std::size_t side = 0; side < 2; ++side) {
    const double norm2 = kDim * (side == 0 ? 0.25 * 0.25 : 2.0 * 2.0);
    for (std::size_t i = 0; i < kTraced; ++i) {
      const auto w = static_cast<std::size_t>(width_of(side, i));
      const double s = 0.5 * static_cast<double>(trace.fisher[side * kTraced + i]) /
                       static_cast<double>(trace.future[i]) * norm2 / kDim;
      sum.harm += s * static_cast<double>(plan.error[side][w]);
      sum.bits += static_cast<double>(plan.stored_bits[w]) / (2 * kTraced);
    }
  }
  return sum;
}

TEST(Oracle, NoOtherWidthsOfAsManyBitsAreBetter) {
  const std::vector<Width> ladder = some_plan().ladder;
  for (const double budget : {1.5, 2.3, 3.0, 4.0}) {
    const WidthTable table = oracle(some_trace(), some_plan(), budget);
    const Cost found = cost([&](std::size_t side, std::size_t i) { return table.at(side, 0, 1 + i, 0); });
    EXPECT_LE(found.bits, budget + 1e-6);
    EXPECT_GE(found.bits, budget - 0.5) << "two vectors could be wider";
    double best = found.harm;
    const std::size_t n = 3 * 3 * 3 * 3 * 3 * 3 * 3 * 3;
    for (std::size_t code = 0; code < n; ++code) {
      const Cost other = cost([&](std::size_t side, std::size_t i) {
        std::size_t rest = code;
        for (std::size_t j = 0; j < side * kTraced + i; ++j) rest /= 3;
        return ladder[rest % 3];
      });
      if (other.bits <= found.bits + 1e-9) best = std::min(best, other.harm);
    }
    EXPECT_NEAR(found.harm, best, 1e-6 * best) << budget;
    EXPECT_EQ(table.at(0, 0, 0, 0), Width::k16);
    EXPECT_EQ(table.at(1, 0, 5, 0), Width::k16);
  }
}

TEST(Arms, AreNamedAndOrderedByKindAndBudget) {
  std::vector<std::string> labels;
  for (const FrontierArm& arm :
       frontier_arms({ArmKind::kShuffled, ArmKind::kLearned, ArmKind::kRule}, {2.25, 3}, 2))
    labels.push_back(arm.label());
  EXPECT_THAT(labels, testing::ElementsAre("rule", "learned@2.25", "learned@3", "shuffled@2.25/1",
                                           "shuffled@2.25/2", "shuffled@3/1", "shuffled@3/2"));
  for (const ArmKind kind : kAllArmKinds) EXPECT_EQ(arm_kind(name(kind)), kind);
  EXPECT_THAT(test::error_of([] { arm_kind("best"); }), HasSubstr("unknown arm 'best'"));
}

// Figures. A context of 4 tokens, 2 of them scored; 100 packed vectors and 20 exact ones.
constexpr double kTag = 3.0 / 64;

nlohmann::json header(std::size_t contexts) {
  return {{"miser_eval", 1},
          {"task", "frontier"},
          {"model", {{"name", "m"}}},
          {"plan", {{"name", "p"}}},
          {"texts", {{{"name", "a"}, {"contexts", contexts}}, {{"name", "b"}, {"contexts", 1}}}},
          {"context", 4},
          {"skip", 1},
          {"budgets", {2.0}},
          {"arms", {"fixed", "rule", "learned", "shuffled"}},
          {"seeds", 2},
          {"samples", 8},
          {"replays", 1},
          {"head_dim", 64},
          {"packed_vectors", 100},
          {"kv_window", 32},
          {"kv_block", 32}};
}

/// An arm of two tokens of KL `kl` * 0.5 and `kl` * 1.5.
ArmScores arm(float kl, std::array<std::uint64_t, kv::kWidthCount> at, float logprob = -1) {
  return {{kl * 0.5F, kl * 1.5F}, {logprob, logprob - 1}, "10", 1000, at};
}

FrontierRecord record(std::size_t context, float learned, bool with_shuffles) {
  FrontierRecord out;
  out.scores.context = context;
  out.scores.bytes_f16 = 4000;
  out.scores.ids = {1, 2};
  const auto add = [&](const std::string& label, ArmScores scores) {
    out.arms.push_back(label);
    out.scores.arms.push_back(std::move(scores));
  };
  add("f16", arm(0, {0, 0, 0, 0, 0, 120}));
  add("q1", arm(0.8F, {100, 0, 0, 0, 0, 20}));
  add("q2", arm(0.2F, {0, 100, 0, 0, 0, 20}, -1.25F));
  add("rule", arm(0.1F, {0, 50, 0, 50, 0, 20}));
  add("learned@2", arm(learned, {50, 0, 50, 0, 0, 20}));
  if (with_shuffles) {
    add("shuffled@2/1", arm(0.3F, {50, 0, 50, 0, 0, 20}));
    add("shuffled@2/2", arm(0.5F, {50, 0, 50, 0, 0, 20}));
  }
  return out;
}

std::map<std::string, nlohmann::json> rows_of(const nlohmann::json& table) {
  std::map<std::string, nlohmann::json> rows;
  for (const auto& row : table.at("rows")) rows[row.at("arm")] = row;
  return rows;
}

TEST(FrontierResult, FiguresAreThoseOfTheRecords) {
  const FrontierState state{header(2), {record(0, 0.05F, true), record(1, 0.15F, false)}};
  const auto result = frontier_result(state);
  ASSERT_EQ(result.at("tables").size(), 1U) << "no context of the second text is done";
  const auto rows = rows_of(result.at("tables")[0]);
  EXPECT_NEAR(rows.at("q2").at("kl_mean").get<double>(), 0.2, 1e-6);
  EXPECT_NEAR(rows.at("q2").at("stored_bits").get<double>(), 2.25 + kTag, 1e-6);
  EXPECT_NEAR(rows.at("rule").at("stored_bits").get<double>(), 3.25 + kTag, 1e-6);
  EXPECT_EQ(rows.at("q2").at("bits_per_element"), 4.0);
  EXPECT_NEAR(rows.at("q2").at("perplexity_ratio").get<double>(), std::exp(0.25), 1e-6);
  EXPECT_NEAR(rows.at("q2").at("compressed_share").get<double>(), 100.0 / 120, 1e-9);
  EXPECT_EQ(rows.at("q2").at("top1"), 0.5);
  EXPECT_NEAR(rows.at("learned@2").at("kl_mean").get<double>(), 0.1, 1e-6);
  EXPECT_NEAR(rows.at("learned@2").at("kl_p99").get<double>(), 0.225 - 0.03 * (0.225 - 0.075), 1e-6);
  EXPECT_EQ(rows.at("learned@2").at("learned_ratio"), nullptr);
}

TEST(FrontierResult, ShufflesAreOneArmComparedOnItsOwnContexts) {
  const FrontierState state{header(2), {record(0, 0.05F, true), record(1, 0.15F, false)}};
  const auto row = rows_of(frontier_result(state).at("tables")[0]).at("shuffled@2");
  EXPECT_EQ(row.at("contexts"), 1);
  EXPECT_EQ(row.at("n"), 4);
  EXPECT_NEAR(row.at("kl_mean").get<double>(), 0.4, 1e-6);
  EXPECT_NEAR(row.at("learned_ratio").get<double>(), 0.05 / 0.4, 1e-6);
  EXPECT_EQ(row.at("ci95").at("learned_ratio"), nullptr) << "one context";
}

TEST(FrontierResult, BestFixedIsMixedToTheSameBits) {
  const FrontierState state{header(2), {record(0, 0.05F, false), record(1, 0.15F, false)}};
  const auto table = frontier_result(state).at("tables")[0];
  const auto row = rows_of(table).at("best fixed@2.0");
  // Learned has half 1 bit and half 3 bits, which is 2.25: a mix of q1 and q2 has that with all of q2.
  EXPECT_NEAR(row.at("stored_bits").get<double>(), 2.25 + kTag, 1e-6);
  EXPECT_NEAR(row.at("kl_mean").get<double>(), 0.2, 1e-6);
  EXPECT_NEAR(row.at("learned_ratio").get<double>(), 0.5, 1e-6);
  const auto& interval = row.at("ci95").at("learned_ratio");
  EXPECT_NEAR(interval[0].get<double>(), 0.25, 1e-6);  // both draws are context 0: a quarter of them
  EXPECT_NEAR(interval[1].get<double>(), 0.75, 1e-6);
  // The rule's bits are more than learned's, which is then compared as it is.
  EXPECT_NEAR(rows_of(table).at("rule").at("learned_ratio").get<double>(), 1.0, 1e-6);
}

TEST(FrontierGroups, MixesLieOnTheLowerHull) {
  const auto group = [](double bits, double kl) {
    FrontierGroup made;
    made.stored_bits = bits;
    made.kl = {static_cast<double>(kl)};
    made.by_context[0] = {1, kl, 0, 0, 0};
    return made;
  };
  const FrontierGroup a = group(1, 1);
  const FrontierGroup above = group(2, 0.9);
  const FrontierGroup b = group(3, 0.01);
  const std::vector<const FrontierGroup*> all = {&a, &above, &b};
  const std::vector<std::size_t> contexts = {0};
  EXPECT_NEAR(best_mix(all, 2)->mean_kl(contexts), 0.1, 1e-9);
  EXPECT_NEAR(best_mix(all, 2.5)->mean_kl(contexts), std::pow(10, -1.5), 1e-9);
  EXPECT_NEAR(best_mix(all, 7)->mean_kl(contexts), 0.01, 1e-9);
  EXPECT_FALSE(best_mix(all, 0.5));
  EXPECT_NEAR(*bits_at({&a, &b}, 0.1), 2, 1e-9);
  EXPECT_FALSE(bits_at({&a, &b}, 2));
  EXPECT_FALSE(bits_at({&a, &b}, 0.001));
}

TEST(FrontierResult, TableShowsEveryText) {
  FrontierState state{header(2), {record(0, 0.05F, true), record(1, 0.15F, false), record(2, 0.1F, true)}};
  const auto result = frontier_result(state);
  ASSERT_EQ(result.at("tables").size(), 3U);
  EXPECT_EQ(result.at("tables")[2].at("contexts"), 3);
  const std::string text = frontier_table(result);
  for (const char* part : {"a: 2 contexts", "b: 1 contexts", "all texts: 3 contexts", "shuffled@2 ",
                           "best fixed@2.0 (q2, q2)", "3 contexts of 4 tokens"})
    EXPECT_THAT(text, HasSubstr(part));
}

}  // namespace
}  // namespace miser::eval
