#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/frontier_arms.h"
#include "eval/kl_record.h"
#include "model/model.h"
#include "nn/thread_pool.h"
#include "policy/plan.h"
#include "policy/replay.h"
#include "session/session.h"

namespace miser::eval {

struct FrontierOptions {
  std::shared_ptr<const policy::Plan> plan;
  SessionOptions session;  ///< window, block, and plans, of which `plan` is the model's own
  std::vector<FrontierArm> arms;
  std::size_t n_samples = 8;  ///< of the oracle's sensitivities
  std::size_t skip = 0;       ///< positions of each context that are not scored
};

/// One context under the arms that ran it.
struct FrontierRecord {
  std::vector<std::string> arms;  ///< labels; the first is f16
  ContextRecord scores;           ///< arms in the same order
};

/// A line of the state: what to_json(ContextRecord) writes, and "labels".
nlohmann::json to_json(const FrontierRecord& record);
/// Throws std::exception as to_context_record() does.
FrontierRecord to_frontier_record(const nlohmann::json& line, std::size_t n_scored);

/// Runs contexts through all arms of a frontier, some at a time in lockstep with f16. Arms that replay widths
/// run after those that find them.
class FrontierRun {
 public:
  /// `model` and `pool` outlive it.
  FrontierRun(const Model& model, nn::ThreadPool& pool, FrontierOptions options);

  /// Called after each chunk of each arm; false stops the run.
  using OnStep = std::function<bool()>;

  /// Calls of OnStep in a context of `length` tokens; `replays`: see run().
  std::size_t steps(std::size_t length, bool replays) const;

  /// Scores the context. Without `replays`, arms that replay widths are left out: they are most of the work.
  /// Empty when on_step stopped it. Throws Error when the context is too short for the oracle's trace.
  std::optional<FrontierRecord> run(std::size_t context, std::span<const std::int32_t> tokens, bool replays,
                                    const OnStep& on_step);

 private:
  struct Tables;

  std::vector<std::vector<FrontierArm>> batches(bool replays) const;
  SessionOptions session(const FrontierArm& arm, Tables& tables) const;
  policy::WidthTable replayed(const FrontierArm& arm, Tables& tables) const;

  const Model& model_;
  nn::ThreadPool& pool_;
  FrontierOptions options_;
};

}  // namespace miser::eval
