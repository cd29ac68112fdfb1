#pragma once
#include <CLI/CLI.hpp>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "cli/eval_options.h"
#include "eval/frontier_arms.h"

namespace miser::cli {

/// What `miser eval frontier` understands. Members named *_flag are as typed.
struct FrontierFlags : EvalOptions {
  std::vector<std::string> data;
  std::size_t context = 2048;
  std::optional<std::size_t> skip;  ///< after resolve_frontier(): set
  std::vector<double> budgets = {1.75, 2.25, 2.75, 3.25, 4.25};
  std::size_t seeds = 10;
  std::size_t samples = 8;
  std::size_t replays = 0;  ///< contexts of each text
  std::string report;
  std::string record;                ///< where the plan goes with these figures in it
  std::vector<eval::ArmKind> kinds;  ///< after resolve_frontier()
  std::vector<std::string> arms_flag;
};

/// Declares them. `options` outlives the command.
void add_frontier_options(CLI::App& command, FrontierFlags& options);

/// Throws UsageError for what makes no sense, Error when the default model is missing.
void resolve_frontier(FrontierFlags& options);

}  // namespace miser::cli
