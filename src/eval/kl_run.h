#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/kl.h"
#include "eval/kl_record.h"
#include "eval/logits.h"
#include "model/model.h"
#include "nn/thread_pool.h"
#include "session/session.h"

namespace miser::eval {

struct KlOptions {
  std::vector<SessionOptions> arms;       ///< the first is f16; context and batch are set by the run
  std::size_t skip = 0;                   ///< positions of each context that are not scored
  const LogitsFile* reference = nullptr;  ///< null: f16 is the reference
};

/// One arm for each policy of `kv`, all with the other options of `session`, but the first, with which the
/// others are compared, without a limit of memory.
std::vector<SessionOptions> kl_arms(const std::vector<std::string>& kv, const SessionOptions& session);

/// Chunks in which `n_arms` arms read a context of `length`: what KlRun counts as steps.
std::size_t kl_steps(std::size_t length, std::size_t skip, std::size_t n_arms);

/// Runs contexts through several arms in lockstep, a chunk at a time, so that the reference's logits are
/// computed once, compared with every arm's and forgotten: memory does not grow with the text. The chunks
/// go through the real cache, whose rule of positions makes them equal to decoding token by token.
class KlRun {
 public:
  /// `model`, `pool` and what `options` points to outlive it.
  KlRun(const Model& model, nn::ThreadPool& pool, KlOptions options);

  /// Called after each chunk of each arm; false stops the run.
  using OnStep = std::function<bool()>;

  /// Calls of OnStep in a context of `length` tokens.
  std::size_t steps(std::size_t length) const {
    return kl_steps(length, options_.skip, options_.arms.size());
  }

  /// Scores positions skip to tokens.size() - 2, each by the token that follows. `context` numbers the
  /// record, `source` finds the context in the file of reference logits. Empty when on_step stopped it.
  /// Throws Error when logits are no numbers.
  std::optional<ContextRecord> run(std::size_t context, std::size_t source,
                                   std::span<const std::int32_t> tokens, const OnStep& on_step);

 private:
  struct Place;

  bool run_chunk(const Place& place, ContextRecord& record, const OnStep& on_step);
  void read_reference(const Place& place);
  void prepare(std::size_t row, std::span<const float> logits);
  void score_rows(const Place& place, std::size_t first, std::span<const float> logits, ArmScores& scores);

  const Model& model_;
  nn::ThreadPool& pool_;
  KlOptions options_;
  std::size_t n_vocab_;
  std::vector<std::unique_ptr<Session>> sessions_;  ///< one an arm, of the running context
  std::vector<float> stored_;                       ///< reference from a file [chunk, n_vocab]
  std::vector<float> weights_;                      ///< [chunk, n_vocab]
  std::vector<ReferenceRow> rows_;                  ///< [chunk]
  std::vector<float> scratch_;                      ///< [threads, n_vocab]
};

}  // namespace miser::eval
