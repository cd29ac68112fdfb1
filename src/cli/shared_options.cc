#include "cli/shared_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <string_view>
#include <system_error>

#include "base/error.h"
#include "cli/run_output.h"
#include "policy/plan_spec.h"
#include "policy/policy.h"
#include "session/plans.h"

namespace miser::cli {
namespace {

/// A whole number of bytes, KiB, MiB or GiB, at least 1.
std::optional<std::size_t> parse_bytes(std::string_view text) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value == 0) return std::nullopt;
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  int shift = 0;
  for (const std::string_view known : {"", "KiB", "MiB", "GiB"}) {
    if (unit == known && value <= std::numeric_limits<std::size_t>::max() >> shift) return value << shift;
    shift += 10;
  }
  return std::nullopt;
}

}  // namespace

CLI::Validator whole(std::int64_t low, std::int64_t high) {
  const auto check = [low, high](const std::string& text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool number = error == std::errc() && end == text.data() + text.size();
    if (number && value >= low && value <= high) return std::string();
    return fmt::format("found '{}', expected a whole number from {} to {}", text, low, high);
  };
  return CLI::Validator(check, "");
}

void add_packing_options(CLI::App& command, SessionOptions& session, std::string& scales_flag,
                         std::string& centres) {
  command.add_option("--kv-window", session.kv_window, "Newest tokens that stay exact")
      ->check(whole(0, kMaxCount))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--kv-block", session.kv_block, "Tokens leave the window in blocks of this size")
      ->check(whole(1, kMaxCount))
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--kv-scales", scales_flag, "Scales that keep the mean (unbiased) or least squares (ls)")
      ->check(CLI::IsMember({"unbiased", "ls"}))
      ->type_name("RULE")
      ->capture_default_str();
  command
      .add_option("--kv-centres", centres,
                  "GGUF with tensors centre.k and centre.v to subtract before packing")
      ->type_name("FILE");
}

kv::ScaleRule scale_rule(const std::string& scales_flag) {
  return scales_flag == "ls" ? kv::ScaleRule::kLeastSquares : kv::ScaleRule::kUnbiased;
}

void add_memory_options(CLI::App& command, SessionOptions& session) {
  command
      .add_option_function<std::string>(
          "--kv-memory", [&session](const std::string& text) { session.kv_memory = *parse_bytes(text); },
          "Most bytes that the cache ever takes, as 8MiB: the vectors that matter least lose bits where "
          "more is needed")
      ->check(CLI::Validator(
          [](const std::string& text) {
            return parse_bytes(text) ? "" : fmt::format("found '{}', expected bytes, as 8MiB", text);
          },
          ""))
      ->type_name("SIZE");
  command
      .add_option_function<std::string>(
          "--kv-overflow",
          [&session](const std::string& text) { session.kv_drop_oldest = text == "drop-oldest"; },
          "When no vector can lose bits any more: stop, or drop-oldest, which goes on without the oldest "
          "tokens")
      ->needs("--kv-memory")
      ->check(CLI::IsMember({"stop", "drop-oldest"}))
      ->type_name("WHAT");
}

void add_plan_options(CLI::App& command, PlanOptions& options) {
  command
      .add_option("--kv-bits", options.bits,
                  "Mean stored bits per element, scales and tags included, that learned, static and received "
                  "aim at (default: the plan's)")
      ->check(CLI::Range(1.0, 16.0))
      ->type_name("X");
  command
      .add_option("--plan", options.file,
                  "Plan of the model, from miser train (default: the built-in one for this window, if any)")
      ->type_name("FILE");
  command.add_flag("--force", options.force, "Use plans of other weights of the same shape too");
}

std::vector<std::string> canonical_policies(const std::vector<std::string>& specs,
                                            const PlanOptions& options) {
  std::vector<std::string> names;
  bool applies = !options.bits;
  for (const std::string& spec : specs) {
    const std::string name = policy::canonical(spec, options.bits);
    applies = applies || name != policy::canonical(spec);
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  if (!applies)
    fail_usage("found --kv-bits, expected a policy that takes a budget: learned, static or received");
  return names;
}

void warn_of_window(const policy::Plans& plans, const std::string& spec, const SessionOptions& session) {
  const auto of_plan = policy::parse_plan_spec(spec);
  if (!of_plan) return;
  const auto plan = plans.get(of_plan->file);
  if (plan->window == session.kv_window && plan->block == session.kv_block) return;
  note(
      fmt::format("warning: {}: trained for {} exact tokens in blocks of {}, found {} in blocks of {}: "
                  "expect more loss\n",
                  spec, plan->window, plan->block, session.kv_window, session.kv_block));
}

std::shared_ptr<const policy::Plans> checked_plans(const Model& model, const std::vector<std::string>& specs,
                                                   const PlanOptions& options,
                                                   const SessionOptions& session) {
  auto plans = load_plans(model, options.file, options.force, session.kv_window);
  const policy::SignalHistory none;
  for (const std::string& spec : specs) {
    policy::parse(spec, none, plans.get());
    warn_of_window(*plans, spec, session);
  }
  return plans;
}

void check_vocabulary(const Model& model, const Tokenizer& tokenizer) {
  const auto n_tokens = static_cast<std::size_t>(tokenizer.size());
  if (model.config().n_vocab >= n_tokens) return;
  fail("{}: the tokenizer has {} tokens, the model has logits of {} only", model.file().name(), n_tokens,
       model.config().n_vocab);
}

}  // namespace miser::cli
