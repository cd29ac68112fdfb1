#include "eval/task_run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <optional>
#include <utility>

#include "base/error.h"

namespace miser::eval {
namespace {

using nlohmann::json;

/// f16 and the other policies, each once.
std::deque<ChoiceScorer> make_scorers(const Model& model, nn::ThreadPool& pool, const RunOptions& options) {
  std::deque<ChoiceScorer> scorers;
  std::vector<std::string> specs = options.kv;
  specs.insert(specs.begin(), "f16");
  SessionOptions session = options.session;
  for (const std::string& spec : specs) {
    session.kv = spec;
    scorers.emplace_back(model, pool, session);
    const bool known = std::any_of(scorers.begin(), scorers.end() - 1, [&](const ChoiceScorer& scorer) {
      return scorer.policy_name() == scorers.back().policy_name();
    });
    if (known) scorers.pop_back();
  }
  return scorers;
}

json make_header(const json& about, const RunOptions& options, std::size_t n_items,
                 const std::deque<ChoiceScorer>& scorers) {
  json header = about;
  header["miser_eval"] = 1;
  header["items"] = n_items;
  header["kv_window"] = options.session.kv_window;
  header["kv_block"] = options.session.kv_block;
  header["kv_scales"] = options.session.kv_scales == kv::ScaleRule::kUnbiased ? "unbiased" : "ls";
  header["context"] = scorers.front().context();
  header["shard"] = fmt::format("{}/{}", options.shard, options.n_shards);
  header["kv"] = json::array();
  for (const ChoiceScorer& scorer : scorers) header["kv"].push_back(scorer.policy_name());
  return header;
}

void check_lengths(const std::vector<Question>& questions, std::size_t context) {
  for (const Question& question : questions) {
    for (const Sequence& ending : question.endings) {
      if (ending.tokens.size() - 1 > context) {
        fail("{}: the item has {} tokens, expected at most the context of {} and one", question.where,
             ending.tokens.size(), context);
      }
    }
  }
}

ArmRecord to_arm(const QuestionScore& score, const Question& question) {
  ArmRecord arm{{}, score.endings[question.label].greedy, score.bytes};
  for (const EndingScore& ending : score.endings) {
    if (!std::isfinite(ending.logprob))
      fail("{}: the model's log-likelihood is {}, expected a number", question.where, ending.logprob);
    arm.logprobs.push_back(ending.logprob);
  }
  return arm;
}

/// Scores questions one after the other with all policies.
class Runner {
 public:
  explicit Runner(std::deque<ChoiceScorer> scorers) : scorers_(std::move(scorers)) {}

  Record score(const Question& question, std::size_t item) {
    Record record{item, question.label, question.characters, 0, false, question.place, {}};
    if (document_ != question.document) {
      for (ChoiceScorer& scorer : scorers_) scorer.read_shared(question.shared);
      document_ = question.document;
    }
    for (ChoiceScorer& scorer : scorers_) {
      const QuestionScore score = scorer.score(question.endings);
      record.bytes_f16 = score.bytes_f16;
      record.packed = score.packed;
      record.arms.emplace(scorer.policy_name(), to_arm(score, question));
    }
    return record;
  }

  const std::deque<ChoiceScorer>& scorers() const { return scorers_; }
  std::size_t tokens_fed() const {
    std::size_t n = 0;
    for (const ChoiceScorer& scorer : scorers_) n += scorer.tokens_fed();
    return n;
  }

 private:
  std::deque<ChoiceScorer> scorers_;
  std::optional<std::size_t> document_;
};

/// Items of this shard, in order.
std::vector<std::size_t> shard_items(const std::vector<Question>& questions, const RunOptions& options) {
  std::vector<std::size_t> items;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    if (questions[i].document % options.n_shards == options.shard) items.push_back(i);
  }
  return items;
}

std::vector<bool> done_items(const std::vector<Record>& records, std::size_t n_items) {
  std::vector<bool> done(n_items);
  for (const Record& record : records) {
    if (record.item >= n_items) fail("the state has item {}, expected less than {}", record.item, n_items);
    done[record.item] = true;
  }
  return done;
}

}  // namespace

std::vector<Question> tokenize(const ItemFile& file, const Tokenizer& tokenizer) {
  std::vector<Question> questions;
  for (const Item& item : file.items) {
    Question question;
    question.where = fmt::format("{}:{}", file.path, item.line);
    question.label = item.label;
    question.document = questions.size();
    for (const Ending& ending : item.endings) {
      question.endings.push_back(encode_pair(tokenizer, ending.context, ending.continuation, question.where));
      question.characters.push_back(ending.characters);
    }
    questions.push_back(std::move(question));
  }
  return questions;
}

TaskState run_questions(const Model& model, nn::ThreadPool& pool, const std::vector<Question>& questions,
                        const RunOptions& options, const json& about, RunCost* cost) {
  const auto start = std::chrono::steady_clock::now();
  Runner runner(make_scorers(model, pool, options));
  TaskState state{make_header(about, options, questions.size(), runner.scorers()), {}};
  check_lengths(questions, runner.scorers().front().context());
  std::optional<StateWriter> writer;
  if (!options.resume.empty()) writer.emplace(options.resume, state.header, state.records);
  const std::vector<bool> done = done_items(state.records, questions.size());
  const std::vector<std::size_t> items = shard_items(questions, options);
  for (const std::size_t item : items) {
    if (options.interrupt != nullptr && options.interrupt->load()) break;
    if (done[item]) continue;
    state.records.push_back(runner.score(questions[item], item));
    if (writer) writer->add(state.records.back());
    if (options.on_progress) options.on_progress(state.records.size(), items.size());
  }
  std::sort(state.records.begin(), state.records.end(),
            [](const Record& a, const Record& b) { return a.item < b.item; });
  if (cost != nullptr) {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    *cost = {runner.tokens_fed(), elapsed.count()};
  }
  return state;
}

}  // namespace miser::eval
