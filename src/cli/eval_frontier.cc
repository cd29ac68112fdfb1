#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/output_file.h"
#include "cli/eval_commands.h"
#include "cli/eval_frontier_options.h"
#include "cli/eval_options.h"
#include "cli/eval_report.h"
#include "cli/plan_results.h"
#include "cli/run_interrupt.h"
#include "cli/run_output.h"
#include "eval/frontier_result.h"
#include "eval/kl_contexts.h"
#include "eval/progress.h"
#include "learn/position_rule.h"
#include "policy/plan_file.h"
#include "report/read.h"

namespace miser::cli {
namespace {

/// A context, and whether it also runs the arms that replay widths.
struct Work {
  std::size_t context;
  std::span<const std::int32_t> tokens;
  bool replays;
};

struct Texts {
  std::vector<eval::Contexts> contexts;

  /// Replayed arms run on `replays` contexts of each text, spread evenly.
  std::vector<Work> work(std::size_t replays) const {
    std::vector<Work> all;
    for (const eval::Contexts& text : contexts) {
      const std::size_t first = all.size();
      for (std::size_t i = 0; i < text.size(); ++i) all.push_back({all.size(), text.at(i), false});
      const std::size_t n = std::min(replays, text.size());
      for (std::size_t i = 0; i < n; ++i) all[first + i * text.size() / n].replays = true;
    }
    return all;
  }
};

nlohmann::json header_of(const FrontierFlags& o, const EvalEngine& engine, const Texts& texts) {
  nlohmann::json header = eval_header(o, engine, "frontier");
  header["plan"] = header.contains("plans") ? header["plans"][0] : nlohmann::json{{"name", "built in"}};
  for (const char* other : {"kv", "kv_scales", "plans", "shard"}) header.erase(other);
  header["texts"] = nlohmann::json::array();
  for (std::size_t i = 0; i < o.data.size(); ++i) {
    header["texts"].push_back({{"name", std::filesystem::path(o.data[i]).filename().string()},
                               {"contexts", texts.contexts[i].size()},
                               {"hash", fingerprint(std::as_bytes(std::span(texts.contexts[i].tokens)))}});
  }
  header["context"] = o.context;
  header["skip"] = *o.skip;
  header["budgets"] = o.budgets;
  header["arms"] = nlohmann::json::array();
  for (const eval::ArmKind kind : o.kinds) header["arms"].push_back(eval::name(kind));
  header["seeds"] = o.seeds;
  header["samples"] = o.samples;
  header["replays"] = o.replays;
  const ModelConfig& model = engine.model.config();
  const std::size_t sinks = kv::CacheConfig{}.sinks;
  const std::size_t end =
      learn::PositionRule{o.session.kv_window, o.session.kv_block}.exact_begin(o.context - 1);
  header["head_dim"] = model.head_dim;
  header["packed_vectors"] = 2 * model.n_layers * model.n_kv_heads * (end - std::min(sinks, end));
  return header;
}

/// Runs until all is done or the user interrupts.
void measure(const FrontierFlags& o, EvalEngine& engine, const std::vector<Work>& all,
             eval::FrontierOptions options, eval::FrontierState& state) {
  std::optional<eval::FrontierWriter> writer;
  if (!o.resume.empty()) writer.emplace(o.resume, state);
  std::set<std::size_t> done;
  for (const auto& record : state.records) done.insert(record.scores.context);
  eval::FrontierRun run(engine.model, engine.pool, std::move(options));
  std::size_t step = 0;
  std::size_t total = 0;
  for (const Work& work : all) {
    const std::size_t steps = run.steps(o.context, work.replays);
    total += steps;
    if (done.contains(work.context)) step += steps;
  }
  eval::Progress progress("eval frontier", total, step);
  for (const Work& work : all) {
    if (done.contains(work.context)) continue;
    auto record = run.run(work.context, work.tokens, work.replays, [&] {
      progress.update(++step);
      return !Interrupt::flag();
    });
    if (!record) break;
    if (writer) writer->add(*record);
    state.records.push_back(std::move(*record));
  }
  std::sort(state.records.begin(), state.records.end(),
            [](const auto& a, const auto& b) { return a.scores.context < b.scores.context; });
}

/// Leaves out what the plan does not have, and says so.
void check_plan(FrontierFlags& o, const policy::Plan& plan) {
  if (!plan.linear) fail("the plan has no learned controller: train one with miser train");
  if (!plan.paper && std::erase(o.kinds, eval::ArmKind::kPaper) > 0)
    note("the plan has no paper's controller: that arm is left out\n");
  if (plan.window != o.session.kv_window || plan.block != o.session.kv_block)
    note(fmt::format("the plan was trained with window {} and block {}\n", plan.window, plan.block));
}

void write_page(OutputFile& file, const nlohmann::json& result, const FrontierFlags& o,
                const CLI::App& command) {
  report::ReportData data;
  report::add_frontier(result, data);
  data.commands.push_back({"This page", typed_command(command)});
  for (report::Fact& fact : run_facts(o.threads)) data.facts.push_back(std::move(fact));
  report::write_report(file, data);
}

void record(policy::Plan plan, const nlohmann::json& result, const std::string& path) {
  plan.results = with_result(plan.results, "frontier", frontier_summary(result));
  policy::write_plan(plan, path);
}

void evaluate(FrontierFlags o, const CLI::App& command) {
  require_standard_output();
  resolve_frontier(o);
  std::optional<OutputFile> page;
  if (!o.report.empty()) page.emplace(o.report);
  if (!o.record.empty()) require_writable(o.record);
  EvalEngine engine(o);
  const auto plan = o.session.plans->get("");
  check_plan(o, *plan);
  Texts texts;
  for (const std::string& path : o.data)
    texts.contexts.push_back(eval::read_contexts({path}, engine.tokenizer, o.context, o.limit));
  eval::FrontierState state{header_of(o, engine, texts), {}};
  const auto work = texts.work(o.replays);
  note(fmt::format("{} contexts of {} tokens, {} of them with shuffles and oracle\n", work.size(), o.context,
                   std::count_if(work.begin(), work.end(), [](const Work& one) { return one.replays; })));
  const Interrupt interrupt;
  measure(o, engine, work, {plan, o.session, eval::frontier_arms(state.header), o.samples, *o.skip}, state);
  const bool interrupted = Interrupt::flag();
  if (state.records.empty()) {
    note("no context was finished\n");
  } else {
    const nlohmann::json result = eval::frontier_result(state);
    write_output(o.json ? result.dump() + "\n" : eval::frontier_table(result));
    if (page) write_page(*page, result, o, command);
    if (!o.record.empty() && !interrupted) record(*plan, result, o.record);
  }
  if (interrupted) Interrupt::exit_by_signal();
}

}  // namespace

void add_eval_frontier(CLI::App& eval) {
  CLI::App* const command = eval.add_subcommand(
      "frontier", "The learned policy against every other way to spend the same bytes, on the same texts");
  const auto o = std::make_shared<FrontierFlags>();
  add_frontier_options(*command, *o);
  command->callback([o, command] { evaluate(*o, *command); });
}

}  // namespace miser::cli
