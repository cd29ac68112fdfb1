#pragma once
#include <atomic>
#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "eval/items.h"
#include "eval/multiple_choice.h"
#include "eval/task_state.h"
#include "model/model.h"
#include "nn/thread_pool.h"
#include "session/session.h"

namespace miser::eval {

/// An item as tokens.
struct Question {
  std::string where;  ///< for messages: "file:line"
  std::vector<Sequence> endings;
  std::size_t label = 0;
  std::vector<std::size_t> characters;  ///< length of each ending's choice
  std::size_t document = 0;             ///< questions on one document lie side by side
  std::vector<Token> shared;            ///< what all questions on the document begin with; may be empty
  std::optional<Place> place;           ///< of recall only
};

struct RunOptions {
  std::vector<std::string> kv;  ///< policies to compare; f16 is always added
  SessionOptions session;       ///< its kv is not used
  std::size_t shard = 0;        ///< takes documents shard, shard + n_shards, ...
  std::size_t n_shards = 1;
  std::string resume;                            ///< path of the state to go on with, or empty
  const std::atomic<bool>* interrupt = nullptr;  ///< set by another thread or a signal handler to stop
  std::function<void(std::size_t done, std::size_t total)> on_progress;
};

/// What a run did beside its results.
struct RunCost {
  std::size_t tokens_fed = 0;
  double seconds = 0;
};

/// Items as tokens, the whole file before the first forward pass.
std::vector<Question> tokenize(const ItemFile& file, const Tokenizer& tokenizer);

/// Scores `questions` with f16 and every policy. `about` names the task and what else tells this run from
/// others ("task", "model", ...); it becomes a part of the state's header. Throws Error naming the item when
/// one is longer than the context, and UsageError for a policy or option that Session does not take.
TaskState run_questions(const Model& model, nn::ThreadPool& pool, const std::vector<Question>& questions,
                        const RunOptions& options, const nlohmann::json& about, RunCost* cost = nullptr);

}  // namespace miser::eval
