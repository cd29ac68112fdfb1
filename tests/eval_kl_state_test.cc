// The state of a run of miser eval kl, its figures and its progress.
#include "eval/kl_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <iterator>

#include "eval/kl_result.h"
#include "eval/progress.h"
#include "eval_kl_bench.h"
#include "temporary_folder.h"

namespace miser::eval {
namespace {

using nlohmann::json;
using test::error_of;
using test::TemporaryFolder;
using testing::HasSubstr;

json header(const std::vector<std::string>& kv, std::size_t contexts, std::size_t length, std::size_t skip,
            const std::string& shard = "0/1") {
  return {{"miser_eval", 1},
          {"task", "kl"},
          {"kv", kv},
          {"contexts", contexts},
          {"context", length},
          {"skip", skip},
          {"shard", shard},
          {"kv_window", 32},
          {"kv_block", 32},
          {"kv_scales", "unbiased"},
          {"reference", {{"name", "f16"}}}};
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

constexpr std::size_t kLength = 100;
constexpr std::size_t kSkip = 25;
constexpr std::size_t kContexts = 5;
const std::vector<std::string> kPolicies = {"f16", "q2", "random:1=50,4=50:3"};

/// The records of contexts first, first + step, ... in a state file.
KlState run_shard(Bench& bench, const std::string& path, std::size_t first, std::size_t step) {
  KlState state{
      header(kPolicies, kContexts, kLength, kSkip, std::to_string(first) + "/" + std::to_string(step)), {}};
  KlStateWriter writer(path, state);
  KlRun run = bench.run(kPolicies, kSkip);
  for (std::size_t i = first + state.records.size() * step; i < kContexts; i += step) {
    state.records.push_back(*run.run(i, i, bench.context(i, kLength), go_on));
    writer.add(state.records.back());
  }
  return state;
}

/// All that is printed.
std::string printed(const KlState& state) {
  const json result = kl_result(state);
  return result.dump() + kl_table(result) + per_token_lines(state);
}

TEST(KlState, RunKilledAnywhereAndResumedEqualsTheUninterruptedRun) {
  Bench bench("f32_long");
  const TemporaryFolder folder;
  const std::string whole = printed(run_shard(bench, folder.file("whole"), 0, 1));
  const std::string bytes = read(folder.file("whole"));
  for (const std::size_t size : {std::size_t{0}, std::size_t{40}, bytes.find('\n'), bytes.find('\n') + 1,
                                 bytes.size() / 3, bytes.size() / 2, bytes.size() - 1, bytes.size()}) {
    SCOPED_TRACE(size);
    write(folder.file("cut"), bytes.substr(0, size));
    EXPECT_EQ(printed(run_shard(bench, folder.file("cut"), 0, 1)), whole);
    EXPECT_EQ(read(folder.file("cut")), bytes);
  }
}

TEST(KlState, ShardsMergedInAnyOrderEqualTheSingleRun) {
  Bench bench("f32_long");
  const TemporaryFolder folder;
  const std::string whole = printed(run_shard(bench, folder.file("whole"), 0, 1));
  for (const std::size_t i : {0, 1, 2}) run_shard(bench, folder.file(std::to_string(i)), i, 3);
  EXPECT_EQ(printed(merge_kl_states({folder.file("2"), folder.file("0"), folder.file("1")})), whole);
  EXPECT_THAT(error_of([&] {
                merge_kl_states({folder.file("2"), folder.file("0")});
              }),
              HasSubstr("no state has context 1 of 5"));
  EXPECT_THAT(error_of([&] {
                merge_kl_states({folder.file("whole"), folder.file("0")});
              }),
              HasSubstr("context 0 is in two states"));
}

TEST(KlState, RejectsWhatItDidNotWriteNamingFileLineAndReason) {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  KlState state{header({"f16"}, 2, 4, 1), {}};
  ContextRecord record;
  record.bytes_f16 = 8;
  record.ids = {1, 2};
  record.arms = {{{0, 0}, {-1, -2}, "11", 8, {}}};
  const std::string first = state.header.dump() + "\n";
  const std::string good = to_json(record).dump() + "\n";
  json no_id = to_json(record);
  no_id["ids"] = {1};
  json no_number = to_json(record);
  no_number["arms"][0]["kl"] = "0000000x00000000";
  json too_far = to_json(record);
  too_far["context"] = 2;
  const std::pair<std::string, std::string> cases[] = {
      {"hello\n", "state:1: not a line"},
      {"{}\n", "state:1: not a line of an evaluation's state: expected the header"},
      {first + "[]\n", "state:2: not a line"},
      {first + good + no_id.dump() + "\n",
       "state:3: not a line of an evaluation's state: expected 1 policies"},
      {first + no_number.dump() + "\n", "found '0000000x', expected 8 hexadecimal digits"},
      {first + too_far.dump() + "\n", "context 2 is more than the run has"},
      {first + good + good, "found context 0 twice"},
      {"hello", "found no complete line"},
  };
  for (const auto& [text, reason] : cases) {
    write(path, text);
    EXPECT_THAT(error_of([&] { read_kl_state(path); }), HasSubstr(reason)) << text;
  }
  write(path, first + good);
  EXPECT_EQ(read_kl_state(path).records.size(), 1U);
}

TEST(KlState, OfOtherOptionsIsRejectedAndLeftAlone) {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  KlState state{header({"f16", "q4"}, 2, 4, 1), {}};
  { const KlStateWriter writer(path, state); }
  const std::string before = read(path);
  KlState other{header({"f16", "q2"}, 2, 4, 1), {}};
  EXPECT_THAT(error_of([&] { const KlStateWriter writer(path, other); }),
              HasSubstr("the state of another run: kv is [\"f16\",\"q4\"], expected [\"f16\",\"q2\"]"));
  EXPECT_EQ(read(path), before);
  write(path, "notes without end of line");
  EXPECT_THAT(error_of([&] { const KlStateWriter writer(path, other); }), HasSubstr("no state"));
  EXPECT_EQ(read(path), "notes without end of line");
  EXPECT_THAT(error_of([&] { const KlStateWriter writer(folder.file("no/state"), other); }),
              HasSubstr("cannot be written: No such file or directory"));
}

TEST(KlRun, StopsWithoutARecordWhenAsked) {
  Bench bench("f32_long");
  KlRun run = bench.run(kPolicies, kSkip);
  std::size_t calls = 0;
  EXPECT_FALSE(run.run(0, 0, bench.context(0, kLength), [&] { return ++calls < 4; }));
  EXPECT_EQ(calls, 4U);
  calls = 0;
  EXPECT_TRUE(run.run(0, 0, bench.context(0, kLength), [&] { return ++calls > 0; }));
  EXPECT_EQ(calls, run.steps(kLength));
}

/// Two contexts of 4 tokens and 3 logits: positions 2 (one row each) are scored.
KlState small_state() {
  KlState state{header({"f16", "q4"}, 2, 4, 1), {}};
  for (const std::size_t context : {0, 1}) {
    ContextRecord record;
    record.context = context;
    record.bytes_f16 = 1000;
    record.ids = {5, 6};
    const auto shift = static_cast<float>(context);
    record.arms = {{{0, 0}, {-1, -2}, "11", 1010, {0, 0, 0, 0, 0, 8}},
                   {{0.5F, 1.5F + shift}, {-2, -4}, "10", 300, {0, 2, 0, 4, 0, 2}}};
    state.records.push_back(record);
  }
  return state;
}

TEST(KlResult, FiguresFollowFromTheRecords) {
  const json result = kl_result(small_state());
  EXPECT_EQ(result.at("n"), 4);
  const json& row = result.at("rows").at(1);
  EXPECT_DOUBLE_EQ(row.at("kl_mean"), 1.25);   // (0.5 + 1.5 + 0.5 + 2.5) / 4
  EXPECT_DOUBLE_EQ(row.at("kl_median"), 1.0);  // of 0.5, 0.5, 1.5, 2.5
  EXPECT_DOUBLE_EQ(row.at("kl_p99"), 2.47);    // 1.5 + 0.97 * (2.5 - 1.5)
  EXPECT_DOUBLE_EQ(row.at("kl_max"), 2.5);
  EXPECT_DOUBLE_EQ(row.at("top1"), 0.5);
  EXPECT_DOUBLE_EQ(row.at("perplexity"), std::exp(3.0));
  EXPECT_DOUBLE_EQ(row.at("perplexity_ratio"), std::exp(1.5));
  EXPECT_DOUBLE_EQ(row.at("bits_per_element"), 4.8);  // 16 * 600 / 2000
  EXPECT_DOUBLE_EQ(row.at("compressed_share"), 0.75);
  EXPECT_EQ(row.at("vectors_at").at("4"), 8);
  EXPECT_EQ(row.at("ci95").at("perplexity_ratio"), json({std::exp(1.5), std::exp(1.5)}));
  EXPECT_EQ(row.at("ci95").at("kl_mean"), json({1.0, 1.5}));  // of two contexts, either may be drawn twice
  const json& positions = row.at("positions");
  ASSERT_EQ(positions.size(), 2U);
  EXPECT_EQ(positions[0], json({{"from", 1},
                                {"to", 2},
                                {"n", 2},
                                {"kl_mean", 0.5},
                                {"top1", 1.0},
                                {"perplexity", std::exp(2.0)}}));
  EXPECT_EQ(positions[1].at("from"), 2);
  EXPECT_EQ(positions[1].at("to"), 3);
}

TEST(KlResult, OneContextHasNoInterval) {
  KlState state = small_state();
  state.records.pop_back();
  const json result = kl_result(state);
  EXPECT_TRUE(result.at("rows").at(1).at("ci95").is_null());
  EXPECT_THAT(kl_table(result), HasSubstr("no intervals, which need more than one context"));
}

TEST(KlResult, PerTokenLinesNameTheTokenThatFollowed) {
  const std::string lines = per_token_lines(small_state());
  const json first = json::parse(lines.substr(0, lines.find('\n')));
  EXPECT_EQ(first, json({{"context", 0},
                         {"pos", 1},
                         {"id", 5},
                         {"kl", {{"f16", 0.0}, {"q4", 0.5}}},
                         {"logprob", {{"f16", -1.0}, {"q4", -2.0}}}}));
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 4);
}

TEST(Progress, LineShowsShareAndTimeLeft) {
  EXPECT_EQ(progress_line("kl", 0, 0, 8, 0), "kl [........................]   0 %");
  EXPECT_EQ(progress_line("kl", 0, 2, 8, 30), "kl [######..................]  25 %  1:30 left");
  EXPECT_EQ(progress_line("kl", 4, 5, 8, 1300), "kl [###############.........]  62 %  1:05:00 left");
  EXPECT_EQ(progress_line("kl", 0, 8, 8, 30), "kl [########################] 100 %");
}

}  // namespace
}  // namespace miser::eval
