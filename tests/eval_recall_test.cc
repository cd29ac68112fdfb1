#include "eval/recall.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "base/error.h"
#include "eval/recall_text.h"
#include "eval/task_run.h"
#include "eval/task_score.h"
#include "real_model.h"

namespace miser::eval {
namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(RecallText, DependsOnAllArgumentsAndNothingElse) {
  auto text = [](std::uint64_t seed, RecallKind kind, std::size_t length, std::size_t document) {
    RecallText made(seed, kind, length, document);
    std::string all = made.introduction() + made.facts()[0].statement;
    for (int i = 0; i < 5; ++i) all += made.filler();
    return all;
  };
  const std::string first = text(1, RecallKind::kPasskey, 512, 0);
  EXPECT_EQ(first, text(1, RecallKind::kPasskey, 512, 0));
  const std::set<std::string> all = {first,
                                     text(2, RecallKind::kPasskey, 512, 0),
                                     text(1U + (std::uint64_t{1} << 32U), RecallKind::kPasskey, 512, 0),
                                     text(1, RecallKind::kFacts, 512, 0),
                                     text(1, RecallKind::kPasskey, 513, 0),
                                     text(1, RecallKind::kPasskey, 512, 1)};
  EXPECT_EQ(all.size(), 6U);
}

TEST(RecallText, RightAnswersAreTheStatedOnes) {
  for (const RecallKind kind : {RecallKind::kPasskey, RecallKind::kFacts}) {
    for (std::size_t i = 0; i < 50; ++i) {
      const auto facts = RecallText(3, kind, 512, i).facts();
      for (const Fact& fact : facts) {
        const std::set<std::string> answers(fact.answers.begin(), fact.answers.end());
        EXPECT_EQ(answers.size(), fact.answers.size());
        for (const std::string& answer : answers)
          EXPECT_EQ(count(fact.statement, answer) > 0, answer == fact.answers[fact.label]) << fact.statement;
      }
    }
  }
}

class Recall : public testing::Test {
 protected:
  Model model_ = Model::load(test::smollm2_path());
  Tokenizer tokenizer_{model_.file()};
};

TEST_F(Recall, DocumentsHaveTheirLengthAndTellTheirDistances) {
  const auto questions = recall_questions(tokenizer_, {{300, 700}, 4, 1});
  ASSERT_EQ(questions.size(), 2 * 4 * (1 + 6));
  std::set<std::size_t> distances;
  for (const Question& q : questions) {
    SCOPED_TRACE(q.where);
    const std::size_t length = q.place->length;
    const Sequence& right = q.endings.at(q.label);
    std::size_t longest = 0;
    for (const Sequence& e : q.endings) longest = std::max(longest, e.tokens.size());
    EXPECT_LE(longest, length);
    EXPECT_GT(longest + 40, length);  // no sentence of filler is longer
    EXPECT_TRUE(std::equal(q.shared.begin(), q.shared.end(), right.tokens.begin()));
    EXPECT_LT(q.shared.size(), right.n_context);
    // What stands `distance` tokens before the answer is the end of the fact.
    const std::size_t distance = q.place->distance;
    distances.insert(distance);
    const auto fact_end = right.tokens.begin() + static_cast<std::ptrdiff_t>(right.n_context - distance);
    const std::string before = tokenizer_.decode({right.tokens.begin(), fact_end});
    const std::string answer = tokenizer_.decode(
        {right.tokens.begin() + static_cast<std::ptrdiff_t>(right.n_context), right.tokens.end()});
    EXPECT_TRUE(
        before.ends_with(q.place->kind == "facts" ? "is the" + answer + "." : answer + " is the pass key."))
        << before.substr(before.size() - 60);
  }
  EXPECT_LT(*distances.begin(), 60U);
  EXPECT_GT(*distances.rbegin(), 500U);
  EXPECT_GT(distances.size(), 40U);
}

TEST_F(Recall, QuestionsOnADocumentShareAllOfIt) {
  for (const Question& q : recall_questions(tokenizer_, {{400}, 1, 1})) {
    const std::size_t tail = q.endings[0].n_context - q.shared.size();
    if (q.place->kind == "facts") {
      EXPECT_LT(tail, 20U);
    }
  }
}

TEST_F(Recall, TooShortDocumentsAreRefused) {
  EXPECT_THAT(
      [&] {
        recall_questions(tokenizer_, {{60}, 1, 1});
      },
      testing::ThrowsMessage<UsageError>(
          testing::MatchesRegex("--length: found 60, expected at least [0-9]+")));
}

TEST_F(Recall, Smollm2FindsPassKeysWithAnExactCacheAndNotWithOneBit) {
  nn::ThreadPool pool(2);
  RunOptions options;
  options.kv = {"q1"};
  options.session.kv_window = 0;
  std::vector<Question> questions = recall_questions(tokenizer_, {{320}, 4, 1});
  std::erase_if(questions, [](const Question& q) { return q.place->kind != "passkey"; });
  const TaskState state = run_questions(model_, pool, questions, options, {{"task", "recall"}});
  EXPECT_EQ(share_of(state.records, "f16", hit_acc).hits, 4U);
  EXPECT_EQ(share_of(state.records, "f16", hit_exact).hits, 4U);
  EXPECT_EQ(share_of(state.records, "q1", hit_exact).hits, 0U);
}

}  // namespace
}  // namespace miser::eval
