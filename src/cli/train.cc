#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/eval_options.h"
#include "cli/plan_results.h"
#include "cli/run_interrupt.h"
#include "cli/run_output.h"
#include "cli/shared_options.h"
#include "cli/train_options.h"
#include "eval/kl_contexts.h"
#include "eval/progress.h"
#include "learn/fit_score.h"
#include "learn/train_folder.h"
#include "policy/features.h"
#include "policy/plan_file.h"
#include "session/plans.h"

namespace miser::cli {
namespace {

/// Budgets of the score that the plan's ladder can meet.
std::vector<double> scored_bits(const policy::Plan& plan) {
  std::vector<double> budgets = {1.75, 2.25, 2.75, 3.25, 4.25};
  const auto least = static_cast<double>(plan.stored_bits[static_cast<std::size_t>(plan.ladder.front())]);
  std::erase_if(budgets, [&](double bits) { return bits < least; });
  return budgets;
}

void check_options(const TrainOptions& o, const ModelConfig& model) {
  if (o.context > model.context)
    fail_usage("--context is {}, but the model has a context of {}", o.context, model.context);
  const std::size_t least = learn::least_context(o.trace);
  if (o.context < least)
    fail_usage("--context is {}, of which nothing is packed: expected at least {}", o.context, least);
  try {
    policy::SignalSet(o.fit.linear.signals, model.n_heads / model.n_kv_heads, model.head_dim);
  } catch (const Error& e) {
    fail_usage("--signals: {}", e.what());
  }
}

std::uint64_t hash_of(std::span<const std::int32_t> tokens) {
  const std::string hex = fingerprint(std::as_bytes(tokens));
  std::uint64_t hash = 0;
  std::from_chars(hex.data(), hex.data() + hex.size(), hash, 16);
  return hash;
}

/// What makes the trace of one context what it is.
std::vector<nlohmann::json> sources_of(const TrainOptions& o, const policy::PlanModel& model,
                                       const eval::Contexts& contexts) {
  std::vector<nlohmann::json> sources;
  for (std::size_t i = 0; i < contexts.size(); ++i) {
    sources.push_back({{"model", fmt::format("{:016x}", model.fingerprint)},
                       {"context", o.context},
                       {"samples", o.trace.n_samples},
                       {"window", o.trace.window},
                       {"block", o.trace.block},
                       {"seed", o.trace.seed + i},
                       {"text", fingerprint(std::as_bytes(contexts.at(i)))}});
  }
  return sources;
}

/// One set of contexts, and their traces in the work folder.
struct Set {
  Set(const TrainOptions& o, const policy::PlanModel& model, const char* name, eval::Contexts read)
      : contexts(std::move(read)), folder(o.work, name, sources_of(o, model, contexts)) {}

  eval::Contexts contexts;
  learn::TraceFolder folder;
};

/// Traces what is missing; false when the user interrupts.
bool trace(const TrainOptions& o, const Model& model, nn::ThreadPool& pool, const Set& set) {
  const auto missing = set.folder.missing();
  std::size_t done = set.folder.size() - missing.size();
  if (done > 0) note(fmt::format("{} of {} contexts are traced already\n", done, set.folder.size()));
  eval::Progress progress("tracing", set.folder.size(), done);
  for (const std::size_t i : missing) {
    learn::TraceOptions options = o.trace;
    options.seed += i;
    set.folder.write(i, learn::trace_context(model, pool, set.contexts.at(i), options));
    progress.update(++done);
    if (Interrupt::flag()) return false;
  }
  return true;
}

policy::Plan fit(const TrainOptions& o, nn::ThreadPool& pool, const Set& set) {
  constexpr std::size_t kSteps = 1000;
  eval::Progress progress("fitting", kSteps);
  return learn::fit_plan(set.folder.traces(), o.fit, pool, [&](double share) {
    progress.update(static_cast<std::size_t>(share * static_cast<double>(kSteps)));
  });
}

/// Each held-out context by itself: what an interval needs.
nlohmann::ordered_json score_contexts(const policy::Plan& plan, const learn::TraceSource& traces,
                                      nn::ThreadPool& pool) {
  auto out = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < traces.n; ++i) {
    const learn::TraceSource one{1, [&](std::size_t) { return traces.read(i); }};
    out.push_back(score_json(learn::score_plan(plan, one, scored_bits(plan), pool)));
  }
  return out;
}

void train(TrainOptions o) {
  require_standard_output();
  resolve(o);
  require_writable(o.output);
  const Model model = Model::load(o.model);
  const Tokenizer tokenizer(model.file());
  check_vocabulary(model, tokenizer);
  check_options(o, model.config());
  nn::ThreadPool pool(o.threads);
  o.fit.linear.rope_frequencies = model.rope_frequencies();
  const policy::PlanModel identity = plan_model(model);
  auto text = eval::read_contexts(o.text, tokenizer, o.context, o.contexts);
  std::optional<Set> test;
  if (!o.test.empty())
    test.emplace(o, identity, "test", eval::read_contexts(o.test, tokenizer, o.context, o.test_contexts));
  const Set training(o, identity, "train", std::move(text));
  note(fmt::format("{} contexts of {} tokens, {} used\n", training.contexts.available, o.context,
                   training.contexts.size()));
  {
    const Interrupt interrupt;
    if (!trace(o, model, pool, training) || (test && !trace(o, model, pool, *test))) {
      note(fmt::format("stopped; the same command goes on with the traces in {}\n", o.work));
      Interrupt::exit_by_signal();
    }
  }
  policy::Plan plan = fit(o, pool, training);
  plan.model = identity;
  plan.text_hash = hash_of(training.contexts.tokens);
  nlohmann::ordered_json result = {{"plan", o.output},
                                   {"controller", o.controller_flag},
                                   {"contexts", training.contexts.size()},
                                   {"context", o.context},
                                   {"samples", o.trace.n_samples},
                                   {"text_hash", fmt::format("{:016x}", plan.text_hash)}};
  std::string table = fmt::format("{}: {} controller from {} contexts of {} tokens\n", o.output,
                                  o.controller_flag, training.contexts.size(), o.context);
  if (test) {
    const learn::TraceSource traces = test->folder.traces();
    const auto score = score_json(learn::score_plan(plan, traces, scored_bits(plan), pool));
    plan.results = with_result(plan.results, "held_out", score);
    table += score_table(score);
    result["score"] = score;
    result["score"]["by_context"] = score_contexts(plan, traces, pool);
  }
  policy::write_plan(plan, o.output);
  if (!o.keep_work) std::filesystem::remove_all(o.work);
  write_output(o.json ? result.dump() + "\n" : table);
}

}  // namespace

void add_train(CLI::App& app) {
  CLI::App* const command = app.add_subcommand(
      "train", "Learn from text how to spend the bits of a model's cache; writes a plan file");
  const auto o = std::make_shared<TrainOptions>();
  add_train_options(*command, *o);
  command->callback([o] { train(*o); });
}

}  // namespace miser::cli
