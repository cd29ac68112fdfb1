#pragma once
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/run_engine.h"
#include "session/generate.h"

namespace miser::cli {

/// Sums over the turns of a chat, or the one generation of a plain run.
struct Totals {
  std::size_t n_prompt = 0;  ///< those that were read
  std::size_t n_reused = 0;  ///< those of the prompt that the prompt cache had
  std::size_t n_generated = 0;
  std::size_t n_decoded = 0;
  double prefill_ms = 0;
  double decode_ms = 0;
  StopReason stop_reason = StopReason::kLength;  ///< of the last turn

  void add(const Generation& generation);
};

/// What is loaded and how it will run, for --verbose: several lines.
std::string describe(const Engine& engine, const RunOptions& options);
/// Two lines: what the cache cost against binary16, and speed.
std::string summary(const Engine& engine, const Totals& totals);
/// The object of --json. Strings are valid UTF-8.
nlohmann::ordered_json to_json(const Engine& engine, const Totals& totals, const std::string& text);

}  // namespace miser::cli
