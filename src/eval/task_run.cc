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

/// Scores questions with all policies.
class TaskRunner {
 public:
  TaskRunner(std::deque<ChoiceScorer> scorers, const std::vector<Question>& questions, std::size_t batch)
      : scorers_(std::move(scorers)), questions_(questions), batch_(batch) {}

  /// How many of the first of these items share passes: at most a batch of rows for what they begin with, and
  /// for their endings. At least one.
  std::size_t count_fitting(std::span<const std::size_t> items) const;
  std::vector<Record> score(std::span<const std::size_t> items);

  const std::deque<ChoiceScorer>& scorers() const { return scorers_; }
  std::size_t tokens_fed() const {
    std::size_t n = 0;
    for (const ChoiceScorer& scorer : scorers_) n += scorer.tokens_fed();
    return n;
  }

 private:
  std::deque<ChoiceScorer> scorers_;
  const std::vector<Question>& questions_;
  std::size_t batch_;
  std::optional<std::size_t> document_;  ///< whose shared tokens the scorers have read
};

std::size_t TaskRunner::count_fitting(std::span<const std::size_t> items) const {
  const std::vector<Token>& shared = questions_[items.front()].shared;
  std::size_t beginnings = 0;
  std::size_t endings = 0;
  std::size_t open = 0;
  for (std::size_t n = 0; n < items.size(); ++n) {
    const Question& question = questions_[items[n]];
    const std::size_t beginning = common_beginning(question.endings);
    open += beginning;
    beginnings += beginning - question.shared.size();
    for (const Sequence& ending : question.endings) endings += ending.tokens.size() - 1 - beginning;
    const bool fits = beginnings <= batch_ && endings <= batch_ && open <= kMaxOpenTokens;
    if (n > 0 && (!fits || question.shared != shared)) return n;
  }
  return items.size();
}

std::vector<Record> TaskRunner::score(std::span<const std::size_t> items) {
  std::vector<Record> records;
  std::vector<std::span<const Sequence>> endings;
  for (const std::size_t item : items) {
    const Question& q = questions_[item];
    records.push_back({item, q.label, q.characters, 0, false, q.place, {}});
    endings.emplace_back(q.endings);
  }
  const Question& first = questions_[items.front()];
  if (document_ != first.document) {
    for (ChoiceScorer& scorer : scorers_) scorer.read_shared(first.shared);
    document_ = first.document;
  }
  for (ChoiceScorer& scorer : scorers_) {
    const std::vector<QuestionScore> scores = scorer.score(endings);
    for (std::size_t i = 0; i < items.size(); ++i) {
      records[i].bytes_f16 = scores[i].bytes_f16;
      records[i].packed = scores[i].packed;
      records[i].arms.emplace(scorer.policy_name(), to_arm(scores[i], questions_[items[i]]));
    }
  }
  return records;
}

std::vector<bool> done_items(const std::vector<Record>& records, std::size_t n_items) {
  std::vector<bool> done(n_items);
  for (const Record& record : records) {
    if (record.item >= n_items) fail("the state has item {}, expected less than {}", record.item, n_items);
    done[record.item] = true;
  }
  return done;
}

/// Items of this shard that are not done, in order.
std::vector<std::size_t> open_items(const std::vector<Question>& questions, const RunOptions& options,
                                    const std::vector<Record>& records) {
  const std::vector<bool> done = done_items(records, questions.size());
  std::vector<std::size_t> items;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    if (questions[i].document % options.n_shards == options.shard && !done[i]) items.push_back(i);
  }
  return items;
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
  TaskRunner runner(make_scorers(model, pool, options), questions, options.session.batch);
  TaskState state{make_header(about, options, questions.size(), runner.scorers()), {}};
  check_lengths(questions, runner.scorers().front().context());
  std::optional<StateWriter> writer;
  if (!options.resume.empty()) writer.emplace(options.resume, state.header, state.records);
  const std::vector<std::size_t> items = open_items(questions, options, state.records);
  const std::size_t total = state.records.size() + items.size();
  for (std::span<const std::size_t> left = items; !left.empty();) {
    if (options.interrupt != nullptr && options.interrupt->load()) break;
    const std::size_t n = runner.count_fitting(left);
    for (Record& record : runner.score(left.first(n))) {
      state.records.push_back(std::move(record));
      if (writer) writer->add(state.records.back());
      if (options.on_progress) options.on_progress(state.records.size(), total);
    }
    left = left.subspan(n);
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
