#include "eval/task_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>

#include "base/error.h"
#include "eval_items.h"
#include "tiny_model.h"

namespace miser::eval {
namespace {

using testing::HasSubstr;

/// Random questions over the vocabulary of a tiny model; `n_context` tokens, four endings.
std::vector<Question> random_questions(std::size_t n_questions, std::size_t n_context) {
  std::mt19937 random(5);
  std::vector<Question> questions;
  for (std::size_t i = 0; i < n_questions; ++i) {
    Question question;
    question.where = "question " + std::to_string(i);
    question.label = random() % 4;
    question.document = i;
    std::vector<Token> context(n_context);
    for (Token& token : context) token = static_cast<Token>(3 + random() % 50);
    for (std::size_t e = 0; e < 4; ++e) {
      Sequence sequence{context, n_context};
      for (std::size_t k = 0; k <= e; ++k) sequence.tokens.push_back(static_cast<Token>(3 + random() % 50));
      question.characters.push_back(sequence.tokens.size());
      question.endings.push_back(std::move(sequence));
    }
    questions.push_back(std::move(question));
  }
  return questions;
}

class TaskRun : public testing::Test {
 protected:
  TaskRun() : model_(Model::load(test::tiny_models().front().path)), pool_(1) {
    options_.kv = {"q2", "rule"};
  }

  TaskState run(const RunOptions& options) {
    return run_questions(model_, pool_, questions_, options, {{"task", "hellaswag"}, {"model", "tiny"}});
  }
  static std::string lines_of(const TaskState& state) {
    std::string text;
    for (const Record& r : state.records) {
      text += std::to_string(r.item);
      for (const auto& [name, arm] : r.arms)
        text += name + nlohmann::json(arm.logprobs).dump() + std::to_string(arm.bytes);
    }
    return text;
  }

  Model model_;
  nn::ThreadPool pool_;
  std::vector<Question> questions_ = random_questions(9, 100);
  RunOptions options_;
};

TEST_F(TaskRun, F16StandsBesideEveryPolicyOnce) {
  options_.kv = {"f16", "q2", "k2v2", "rule"};
  const TaskState state = run(options_);
  EXPECT_EQ(state.header.at("kv"), nlohmann::json({"f16", "q2", "rule"}));
  EXPECT_EQ(state.records.size(), 9U);
  EXPECT_TRUE(state.records[0].packed);
  EXPECT_NE(state.records[0].arms.at("q2").logprobs, state.records[0].arms.at("f16").logprobs);
}

TEST_F(TaskRun, PoliciesAgreeWhereNothingLeavesTheWindow) {
  questions_ = random_questions(3, 56);  // 60 tokens at most; a block of 32 leaves from position 64 on
  for (const Record& record : run(options_).records) {
    EXPECT_FALSE(record.packed);
    EXPECT_EQ(record.arms.at("q2").logprobs, record.arms.at("f16").logprobs);
  }
  options_.session.kv_window = 0;
  options_.session.kv_block = 1;
  for (const Record& record : run(options_).records) {
    EXPECT_TRUE(record.packed);
    EXPECT_NE(record.arms.at("q2").logprobs, record.arms.at("f16").logprobs);
  }
}

TEST_F(TaskRun, KilledAtAnyByteAndResumedEqualsOneRun) {
  const TaskState whole = run(options_);
  const TempFile full("", "full");
  std::filesystem::remove(full.path());
  options_.resume = full.path();
  run(options_);
  std::ifstream in(full.path(), std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  for (const std::size_t size : {std::size_t{0}, std::size_t{10}, text.find('\n') + 1, text.size() / 2,
                                 text.size() - 1, text.size()}) {
    SCOPED_TRACE(size);
    const TempFile cut(text.substr(0, size), "cut");
    options_.resume = cut.path();
    EXPECT_EQ(lines_of(run(options_)), lines_of(whole));
    EXPECT_EQ(lines_of(read_state(cut.path())), lines_of(whole));
  }
}

TEST_F(TaskRun, InterruptedRunKeepsWhatIsDone) {
  const TempFile file("", "state");
  std::filesystem::remove(file.path());
  options_.resume = file.path();
  std::atomic<bool> stop = false;
  options_.interrupt = &stop;
  options_.session.batch = 220;  // a pass takes two of the nine questions
  options_.on_progress = [&](std::size_t done, std::size_t) { stop = done >= 4; };
  EXPECT_EQ(run(options_).records.size(), 4U);
  EXPECT_EQ(read_state(file.path()).records.size(), 4U);
}

TEST_F(TaskRun, MergedShardsEqualOneRun) {
  const TaskState whole = run(options_);
  std::vector<std::unique_ptr<TempFile>> files;
  std::vector<std::string> paths;
  for (options_.shard = 0, options_.n_shards = 3; options_.shard < 3; ++options_.shard) {
    files.push_back(std::make_unique<TempFile>("", std::to_string(options_.shard)));
    std::filesystem::remove(files.back()->path());
    options_.resume = files.back()->path();
    run(options_);
    paths.insert(paths.begin(), files.back()->path());
  }
  EXPECT_EQ(lines_of(merge_states(paths)), lines_of(whole));

  auto error = [](const std::vector<std::string>& shards) -> std::string {
    try {
      merge_states(shards);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_EQ(error({paths[0], paths[1]}), "no state has item 0 of 9");
  EXPECT_EQ(error({paths[0], paths[1], paths[2], paths[1]}), "item 1 is in two states");
  options_ = {};
  options_.resume = testing::TempDir() + "other_window";
  options_.kv = {"q2", "rule"};
  options_.session.kv_window = 0;
  run(options_);
  EXPECT_THAT(error({paths[0], options_.resume}), HasSubstr("kv_window is 0, expected 32"));
  std::filesystem::remove(options_.resume);
}

TEST_F(TaskRun, StateOfAnotherRunOrAnotherFileIsLeftAlone) {
  const TempFile state("", "state");
  std::filesystem::remove(state.path());
  options_.resume = state.path();
  run(options_);
  const auto size = std::filesystem::file_size(state.path());
  options_.kv = {"q4"};
  EXPECT_THAT(
      [&] { run(options_); },
      testing::ThrowsMessage<Error>(HasSubstr("the state of another run: kv is [\"f16\",\"q2\",\"rule\"]")));
  EXPECT_EQ(std::filesystem::file_size(state.path()), size);
  const TempFile letter("Dear Anna", "letter");
  options_.resume = letter.path();
  EXPECT_THAT([&] { run(options_); }, testing::ThrowsMessage<Error>(HasSubstr("no state of an evaluation")));
  EXPECT_EQ(std::filesystem::file_size(letter.path()), 9U);
  const TempFile poem("Roses are red\n", "poem");
  options_.resume = poem.path();
  EXPECT_THAT([&] { run(options_); },
              testing::ThrowsMessage<Error>(HasSubstr(":1: not a line of an evaluation's state")));
}

TEST_F(TaskRun, ItemLongerThanTheContextIsNamed) {
  options_.session.context = 102;
  EXPECT_THAT([&] { run(options_); },
              testing::ThrowsMessage<Error>(HasSubstr(
                  "question 0: the item has 104 tokens, expected at most the context of 102 and one")));
  options_.session.context = 103;
  EXPECT_EQ(run(options_).records.size(), 9U);
}

}  // namespace
}  // namespace miser::eval
