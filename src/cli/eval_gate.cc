#include <fmt/format.h>

#include <memory>
#include <utility>
#include <vector>

#include "base/error.h"
#include "cli/eval_commands.h"
#include "cli/eval_options.h"
#include "cli/run_interrupt.h"
#include "cli/run_output.h"
#include "eval/gate_result.h"
#include "eval/kl_contexts.h"
#include "eval/progress.h"

namespace miser::cli {
namespace {

constexpr std::int64_t kMaxDraws = 10000;

struct GateFlags : EvalOptions {
  std::vector<std::string> data;
  std::size_t context = 1024;
  std::size_t contexts = 8;
  std::size_t groups = 12;
  std::size_t samples = 8;
  std::uint64_t seed = 1;
};

void add_options(CLI::App& command, GateFlags& o) {
  command.add_option("-m,--model", o.model, "GGUF file (default: the model that ./dev model fetches)")
      ->type_name("FILE");
  command.add_option("--plan", o.plan.file, "The plan that miser train made (default: the built-in one)")
      ->type_name("FILE");
  command.add_flag("--force", o.plan.force, "Use the plan although it was made for other weights");
  command.add_option("--data", o.data, "Held-out text in UTF-8, perhaps gzipped; can be given several times")
      ->type_name("FILE")
      ->required();
  const auto count = [&](const char* option, std::size_t& value, std::int64_t most, const char* description) {
    command.add_option(option, value, description)
        ->check(whole(1, most))
        ->type_name("N")
        ->capture_default_str();
  };
  count("--context", o.context, kMaxContext, "Tokens of a context");
  count("--contexts", o.contexts, kMaxCount, "Contexts, spread evenly over the texts");
  count("--groups", o.groups, kMaxDraws, "Groups of each kind in a context: wide, alike");
  count("--samples", o.samples, kMaxDraws, "Samples of the traced sensitivities");
  command.add_option("-s,--seed", o.seed, "Of the groups and the samples")
      ->type_name("N")
      ->capture_default_str();
  command.add_option("-t,--threads", o.threads, "Threads (default: physical cores)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  command.add_flag("--json", o.json, "Print one JSON object");
}

nlohmann::json header_of(const GateFlags& o, const EvalEngine& engine, const policy::Plan& plan) {
  nlohmann::json header = eval_header(o, engine, "gate");
  header["plan"] = header.contains("plans") ? header["plans"][0] : nlohmann::json{{"name", "built in"}};
  for (const char* other : {"miser_eval", "kv", "kv_scales", "plans", "shard"}) header.erase(other);
  header["kv_window"] = plan.window;
  header["kv_block"] = plan.block;
  header["context"] = o.context;
  header["samples"] = o.samples;
  header["seed"] = o.seed;
  return header;
}

void evaluate(GateFlags o) {
  require_standard_output();
  resolve(o);
  EvalEngine engine(o);
  const auto plan = o.session.plans->get("");
  if (!plan->linear) fail("the plan has no learned controller: train one with miser train");
  const auto contexts = eval::read_contexts(o.data, engine.tokenizer, o.context, o.contexts);
  const Interrupt interrupt;
  eval::GateRun run(engine.model, engine.pool, {plan, o.groups, o.samples, o.seed});
  std::vector<eval::GateRecord> records;
  {
    std::size_t step = 0;
    eval::Progress progress("eval gate", contexts.size() * run.steps(o.context));
    for (std::size_t i = 0; i < contexts.size() && !Interrupt::flag(); ++i) {
      auto record = run.run(i, contexts.at(i), [&] {
        progress.update(++step);
        return !Interrupt::flag();
      });
      if (record) records.push_back(std::move(*record));
    }
  }
  const bool interrupted = Interrupt::flag();
  if (records.empty()) {
    note("no context was finished\n");
  } else {
    const nlohmann::json result = eval::gate_result(header_of(o, engine, *plan), records);
    write_output(o.json ? result.dump() + "\n" : eval::gate_table(result));
  }
  if (interrupted) Interrupt::exit_by_signal();
}

}  // namespace

void add_eval_gate(CLI::App& eval) {
  CLI::App* const command = eval.add_subcommand(
      "gate", "Whether sensitivities predict the KL of quantising random groups of cached vectors");
  const auto o = std::make_shared<GateFlags>();
  add_options(*command, *o);
  command->callback([o] { evaluate(*o); });
}

}  // namespace miser::cli
