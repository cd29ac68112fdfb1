#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "model/model.h"
#include "session/session.h"
#include "tokenizer/tokenizer.h"

namespace miser::cli {

inline constexpr std::int64_t kMaxCount = std::int64_t{1} << 30U;  ///< most tokens, documents, ... asked for

/// Accepts whole numbers from `low` to `high`; no description, so that the help stays readable.
CLI::Validator whole(std::int64_t low, std::int64_t high);

/// Declares --kv-window, --kv-block, --kv-scales and --kv-centres, which mean the same in all commands. The
/// references outlive the command; scale_rule() reads `scales_flag`.
void add_packing_options(CLI::App& command, SessionOptions& session, std::string& scales_flag,
                         std::string& centres);
kv::ScaleRule scale_rule(const std::string& scales_flag);

/// Throws Error when the tokenizer has ids for which the model has no logits.
void check_vocabulary(const Model& model, const Tokenizer& tokenizer);

}  // namespace miser::cli
