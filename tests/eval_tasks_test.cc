#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "eval/items.h"
#include "eval/multiple_choice.h"
#include "eval/task_run.h"
#include "eval/task_score.h"
#include "eval_items.h"
#include "nn/matrix.h"
#include "real_model.h"
#include "tiny_model.h"

namespace miser::eval {
namespace {

/// Log-likelihood of each token but the first, from reference logits [n, n_vocab].
std::vector<double> logprobs(const test::Array& logits, const std::vector<Token>& tokens) {
  std::vector<double> each(tokens.size());
  for (std::size_t i = 1; i < tokens.size(); ++i) {
    const auto row = logits.values.subspan((i - 1) * logits.shape[1], logits.shape[1]);
    each[i] = test::log_probability(row, static_cast<std::size_t>(tokens[i]));
  }
  return each;
}

double sum(const std::vector<double>& each, const Sequence& sequence) {
  return std::accumulate(each.begin() + static_cast<std::ptrdiff_t>(sequence.n_context),
                         each.begin() + static_cast<std::ptrdiff_t>(sequence.tokens.size()), 0.0);
}

double distance(const std::vector<double>& a, const std::vector<double>& b, const Sequence& sequence) {
  double total = 0;
  for (std::size_t i = sequence.n_context; i < sequence.tokens.size(); ++i) total += std::abs(a[i] - b[i]);
  return total;
}

std::vector<Token> first(const std::vector<Token>& tokens, std::size_t n) {
  return {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(n)};
}

TEST(ChoiceScorer, SharedBeginningsGiveTheLogLikelihoodsOfTheReference) {
  nn::ThreadPool pool(2);
  for (const test::TinyModel& tiny : test::tiny_models()) {
    const Model model = Model::load(tiny.path);
    const std::size_t n = tiny.tokens.size();
    const auto exact = logprobs(tiny.exact_logits(), tiny.tokens);
    const auto f16 = logprobs(tiny.array(tiny.runs.front(), "logits"), tiny.tokens);
    for (const test::TinyRun& run : tiny.runs) {
      SCOPED_TRACE(tiny.describe(run));
      const bool rounds = nn::rounds_inputs(n);
      ChoiceScorer scorer(model, pool, tiny.options(run));
      // The second has a longer context, so that a part of what is fed after the prefix is not scored.
      const std::vector<Sequence> endings = {{first(tiny.tokens, n), n / 2},
                                             {first(tiny.tokens, n - 3), n / 2 + 9},
                                             {first(tiny.tokens, n / 2 + 1), n / 2}};
      scorer.read_shared(first(tiny.tokens, n / 3));
      const std::span<const Sequence> question = endings;
      const QuestionScore score = scorer.score({&question, 1}).front();
      const auto expected = logprobs(tiny.array(run, "logits"), tiny.tokens);
      for (std::size_t i = 0; i < endings.size(); ++i) {
        // Roundings that flip (tests/compare.h), and queries of 16 bits, do little more than rounding K and
        // V; products that round x to 16 bits flip more.
        const double bound = (rounds ? 4 : 2.5) * distance(f16, exact, endings[i]) +
                             (rounds ? 0.2 : 0.1) * distance(expected, exact, endings[i]);
        EXPECT_NEAR(score.endings[i].logprob, sum(expected, endings[i]), bound);
      }
      EXPECT_EQ(scorer.tokens_fed(), n / 2 + (n - 1 - n / 2) + (n - 4 - n / 2));
    }
  }
}

/// The items of tests/data/harness_scores.json of one task, and what the harness makes of them. Those of the
/// shared data are left out where that is not.
struct Expected {
  std::vector<Item> items;
  std::vector<nlohmann::json> scores;
};

Expected expected_scores(const Task& task, const nlohmann::json& entries) {
  const std::string shared = std::string(MISER_SOURCE_DIR "/../shared/data/") + std::string(task.name) +
                             (task.kind == TaskKind::kHellaswag ? "_dev" : "") + ".jsonl.gz";
  Expected out;
  std::vector<Item> third_party;
  if (std::filesystem::exists(shared)) third_party = read_items(task, shared).items;
  for (const auto& entry : entries) {
    if (entry.contains("item")) {
      const TempFile file(entry.at("item").dump());
      out.items.push_back(read_items(task, file.path()).items.at(0));
    } else if (!third_party.empty()) {
      out.items.push_back(third_party.at(entry.at("index").get<std::size_t>()));
    } else {
      std::printf("%s: not there, items of it were not compared\n", shared.c_str());
      break;
    }
    out.scores.push_back(entry);
  }
  return out;
}

TEST(Harness, LogLikelihoodsAndChoicesAreThoseOfTheHarness) {
  const Model model = Model::load(test::smollm2_path());
  const Tokenizer tokenizer(model.file());
  nn::ThreadPool pool(2);
  std::ifstream file(MISER_SOURCE_DIR "/tests/data/harness_scores.json");
  const auto tasks = nlohmann::json::parse(file).at("tasks");
  for (const Task& task : all_tasks()) {
    const Expected expected = expected_scores(task, tasks.at(std::string(task.name)));
    const TaskState state =
        run_questions(model, pool, tokenize({"", expected.items, 0}, tokenizer), {}, {{"task", task.name}});
    for (std::size_t i = 0; i < expected.items.size(); ++i) {
      SCOPED_TRACE(std::string(task.name) + " " + std::to_string(i));
      const Record& record = state.records.at(i);
      const auto& arm = record.arms.at("f16");
      const auto& score = expected.scores[i];
      // Float sums in another order, and keys and values that they round to the other neighbour in binary16:
      // up to 0.010 was measured over 50 items of each task.
      EXPECT_THAT(arm.logprobs, testing::Pointwise(testing::DoubleNear(0.02), score.at("logprobs")));
      EXPECT_EQ(hit_acc(record, arm), score.at("acc").get<bool>());
      if (task.has_acc_norm) {
        EXPECT_EQ(hit_acc_norm(record, arm), score.at("acc_norm").get<bool>());
      }
      EXPECT_EQ(score.contains("acc_norm"), task.has_acc_norm);
    }
  }
}

}  // namespace
}  // namespace miser::eval
