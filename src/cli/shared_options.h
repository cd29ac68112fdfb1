#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/model.h"
#include "policy/plans.h"
#include "session/session.h"
#include "tokenizer/tokenizer.h"

namespace miser::cli {

inline constexpr std::int64_t kMaxThreads = 1024;
inline constexpr std::size_t kMinContext = 3;  ///< tokens of a context in which something is scored
inline constexpr std::size_t kMaxContext = std::size_t{1} << 20U;
inline constexpr std::int64_t kMaxCount = std::int64_t{1} << 30U;  ///< most tokens, documents, ... asked for

/// Accepts whole numbers from `low` to `high`; no description, so that the help stays readable.
CLI::Validator whole(std::int64_t low, std::int64_t high);

/// Declares --kv-window, --kv-block, --kv-scales and --kv-centres, which mean the same in all commands. The
/// references outlive the command; scale_rule() reads `scales_flag`.
void add_packing_options(CLI::App& command, SessionOptions& session, std::string& scales_flag,
                         std::string& centres);
kv::ScaleRule scale_rule(const std::string& scales_flag);

/// Declares --kv-memory and --kv-overflow. `session` outlives the command.
void add_memory_options(CLI::App& command, SessionOptions& session);

/// Policies that a plan makes: where the plan is, and what they may spend.
struct PlanOptions {
  std::string file;           ///< of the model's own plan; empty: the built-in one, if any
  std::optional<float> bits;  ///< budget of the policies that take one and name none
  bool force = false;         ///< a plan may be of other weights
};

/// Declares --kv-bits, --plan and --force. `options` outlives the command.
void add_plan_options(CLI::App& command, PlanOptions& options);

/// The canonical texts of `specs`, each once, with --kv-bits where it applies. Throws UsageError for an
/// unknown policy, and when --kv-bits applies to none.
std::vector<std::string> canonical_policies(const std::vector<std::string>& specs,
                                            const PlanOptions& options);

/// Says so where the plan of a policy was trained for other exact tokens than the session keeps.
void warn_of_window(const policy::Plans& plans, const std::string& spec, const SessionOptions& session);

/// The plans for `model`, after checking that they make every one of `specs` (with warn_of_window()). Throws
/// as load_plans() and policy::parse() do.
std::shared_ptr<const policy::Plans> checked_plans(const Model& model, const std::vector<std::string>& specs,
                                                   const PlanOptions& options, const SessionOptions& session);

/// Throws Error when the tokenizer has ids for which the model has no logits.
void check_vocabulary(const Model& model, const Tokenizer& tokenizer);

}  // namespace miser::cli
