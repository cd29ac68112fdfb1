#pragma once
#include <CLI/CLI.hpp>
#include <optional>

#include "base/output_file.h"
#include "eval/kl_state.h"

namespace miser::cli {

// Each registers subcommands of `miser eval`.
void add_eval_kl(CLI::App& eval);
void add_eval_tasks(CLI::App& eval);
void add_eval_merge(CLI::App& eval);
void add_eval_frontier(CLI::App& eval);
void add_eval_gate(CLI::App& eval);

/// Writes the figures of a state to standard output, and its tokens to `per_token` if there is one. REQUIRES:
/// at least one record.
void print_kl(const eval::KlState& state, bool json, std::optional<OutputFile>& per_token);

}  // namespace miser::cli
