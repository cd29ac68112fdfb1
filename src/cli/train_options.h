#pragma once
#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "learn/fit.h"
#include "learn/trace.h"

namespace miser::cli {

/// What `miser train` understands. Members named *_flag are as typed; resolve() turns them into the others.
struct TrainOptions {
  std::string model;  ///< empty until resolve(): the default model
  std::vector<std::string> text;
  std::vector<std::string> test;  ///< held-out text for the score, or empty
  std::string output;             ///< empty until resolve(): MODEL.plan.gguf in the working folder
  std::string work;               ///< folder of traces; empty until resolve(): OUTPUT.traces
  bool keep_work = false;         ///< set by resolve(): the user named the folder
  std::size_t contexts = 24;
  std::size_t test_contexts = 6;
  std::size_t context = 2048;
  int threads = 0;  ///< 0 until resolve(): physical cores
  bool json = false;
  learn::TraceOptions trace;
  learn::FitOptions fit;

  std::string controller_flag = "learned";
  std::string ladder_flag = "1,2,3,4,8,16";
  std::string signals_flag;
  std::string share_flag = "head";
  std::string labels_flag = "price";
  std::string latency;  ///< path of what miser bench --json printed, or empty
};

/// Declares them; `options` outlives the command.
void add_train_options(CLI::App& command, TrainOptions& options);

/// Throws UsageError for a malformed value, Error when the default model or the file of latencies is of no
/// use.
void resolve(TrainOptions& options);

}  // namespace miser::cli
