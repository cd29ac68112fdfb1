#pragma once
#include <CLI/CLI.hpp>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "cli/shared_options.h"
#include "model/model.h"
#include "nn/thread_pool.h"
#include "session/session.h"
#include "tokenizer/tokenizer.h"

namespace miser::cli {

/// Every n-th document from `index` on.
struct Shard {
  std::size_t index = 0;
  std::size_t n = 1;
};

/// What all tasks of `miser eval` understand. Members named *_flag are as typed; resolve() turns them into
/// the others.
struct EvalOptions {
  std::string model;            ///< empty until resolve(): the default model
  std::vector<std::string> kv;  ///< after resolve(): canonical names, each once, f16 first
  std::size_t limit = 0;        ///< most documents; 0: all
  int threads = 0;              ///< 0 until resolve(): physical cores
  SessionOptions session;       ///< window, block and scale rule
  PlanOptions plan;
  std::string centres;  ///< path, or empty
  std::string resume;   ///< path of the state, or empty
  Shard shard;
  bool json = false;

  std::string kv_scales_flag = "unbiased";
  std::string shard_flag = "0/1";
};

/// Declares them; `documents` is what --limit counts. `options` outlives the command.
void add_eval_options(CLI::App& command, EvalOptions& options, const std::string& documents);

/// Throws UsageError for an unknown policy or a malformed shard, Error when the default model is missing.
void resolve(EvalOptions& options);

/// What an evaluation loads, from resolved options; options.session gets its centres and plans.
struct EvalEngine {
  /// Throws Error when a file cannot be used or they do not fit together.
  explicit EvalEngine(EvalOptions& options);

  Model model;
  Tokenizer tokenizer;
  nn::ThreadPool pool;
};

/// The fields of a state's header that all tasks share: what must be equal for a run to be resumed or merged.
nlohmann::json eval_header(const EvalOptions& options, const EvalEngine& engine, const std::string& task);

/// 64-bit hash (FNV-1a over 8-byte words) as 16 hexadecimal digits: tells inputs apart, no protection.
std::string fingerprint(std::span<const std::byte> bytes);

}  // namespace miser::cli
