#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/shared_options.h"
#include "session/sampler.h"
#include "session/session.h"

namespace miser::cli {

/// What `miser run` was asked for. Members named *_flag are as typed; resolve() turns them into the others.
struct RunOptions {
  std::string model;  ///< empty until resolve(): the default model
  std::optional<std::string> prompt;
  std::string system;
  bool chat = false;  ///< -i, or implied by a system prompt
  long max_tokens = -1;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  int threads = 0;  ///< 0 until resolve(): physical cores
  SamplingOptions sampling;
  SessionOptions session;  ///< without centres and plans; kv is empty for the default, which needs the model
  PlanOptions plan;
  std::string centres;       ///< path, or empty
  std::string trace;         ///< path, or empty
  std::string prompt_cache;  ///< path, or empty
  bool prompt_cache_all = false;
  bool prompt_cache_ro = false;
  bool show_bits = false;
  bool no_display_prompt = false;
  bool verbose = false;
  bool json = false;

  std::optional<std::string> prompt_flag;
  std::string file_flag;
  std::int64_t seed_flag = -1;
  std::optional<std::string> kv_flag;
  std::optional<std::string> cache_type_k_flag;
  std::optional<std::string> cache_type_v_flag;
  std::string kv_scales_flag = "unbiased";
};

/// Declares the options of `miser run`. `options` outlives the command.
void add_run_options(CLI::App& command, RunOptions& options);

/// Fills in what depends on several options, the prompt's file or the machine. Throws UsageError when options
/// do not go together, Error when the file cannot be read or the default model is missing.
void resolve(RunOptions& options);

/// llama.cpp's names of one dash and several letters (-sys, -ctk), which CLI11 does not know, written as the
/// long names of the command that argv[1] names; values of its options stay as they are. Returns argv[1..] in
/// order.
std::vector<std::string> expand_short_names(const CLI::App& app, int argc, const char* const* argv);

}  // namespace miser::cli
