#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/output_file.h"
#include "cli/eval_commands.h"
#include "cli/eval_options.h"
#include "cli/eval_report.h"
#include "cli/run_interrupt.h"
#include "cli/run_output.h"
#include "eval/kl_contexts.h"
#include "eval/kl_result.h"
#include "eval/kl_run.h"
#include "eval/progress.h"

namespace miser::cli {
namespace {

constexpr std::size_t kDefaultContext = 1024;

struct KlFlags : EvalOptions {
  std::vector<std::string> data;
  std::size_t context = 0;  ///< 0: the reference file's, else kDefaultContext
  std::optional<std::size_t> skip;
  std::string reference;
  std::string per_token;
  ReportOptions report;
};

/// Documents, and where their reference logits come from.
struct Input {
  std::optional<eval::LogitsFile> reference;
  eval::Contexts contexts;
};

Input read_input(KlFlags& o, const EvalEngine& engine) {
  Input input;
  if (o.reference.empty()) {
    if (o.data.empty()) fail_usage("no text: pass --data FILE, or --reference FILE, which brings its tokens");
    if (o.context == 0) o.context = kDefaultContext;
    input.contexts = eval::read_contexts(o.data, engine.tokenizer, o.context, o.limit);
  } else {
    const auto& file = input.reference.emplace(o.reference);
    if (!o.data.empty()) fail_usage("found both --data and --reference, which brings its own tokens");
    if (file.n_vocab() != engine.model.config().n_vocab)
      fail("{}: found logits of {} tokens, expected the model's {}", o.reference, file.n_vocab(),
           engine.model.config().n_vocab);
    if (o.context != 0 && o.context != file.context())
      fail_usage("--context is {}, but the contexts of {} have {} tokens", o.context, o.reference,
                 file.context());
    o.context = file.context();
    input.contexts = eval::read_contexts(file, engine.tokenizer, o.limit);
  }
  return input;
}

/// Positions before it are not scored.
std::size_t first_scored(const KlFlags& o, const Input& input) {
  const std::size_t low = input.reference ? input.reference->first_scored() : 0;
  const std::size_t skip = o.skip.value_or(input.reference ? low : o.context / 4);
  if (skip < low) fail_usage("--skip is {}, but {} begins at position {}", skip, o.reference, low);
  if (skip + 1 >= o.context)
    fail_usage("--skip is {}, expected less than {} in contexts of {}", skip, o.context - 1, o.context);
  return skip;
}

nlohmann::json header_of(const KlFlags& o, const EvalEngine& engine, const Input& input, std::size_t skip) {
  nlohmann::json header = eval_header(o, engine, "kl");
  header["text"] = fingerprint(std::as_bytes(std::span(input.contexts.tokens)));
  header["contexts"] = input.contexts.size();
  header["context"] = o.context;
  header["skip"] = skip;
  if (o.session.kv_memory > 0) header["kv_memory"] = {o.session.kv_memory, o.session.kv_drop_oldest};
  header["reference"] = {{"name", "f16"}};
  if (input.reference) header["reference"] = {{"name", "file"}, {"bytes", input.reference->bytes()}};
  return header;
}

/// The contexts of the shard that are not finished yet.
std::vector<std::size_t> to_do(const Shard& shard, std::size_t n, const eval::KlState& state) {
  std::set<std::size_t> done;
  for (const auto& record : state.records) done.insert(record.context);
  std::vector<std::size_t> contexts;
  for (std::size_t i = shard.index; i < n; i += shard.n) {
    if (!done.contains(i)) contexts.push_back(i);
  }
  return contexts;
}

/// Runs until all is done or the user interrupts.
void measure(const KlFlags& o, EvalEngine& engine, const Input& input, std::size_t skip,
             eval::KlState& state) {
  std::optional<eval::KlStateWriter> writer;
  if (!o.resume.empty()) writer.emplace(o.resume, state);
  const auto contexts = to_do(o.shard, input.contexts.size(), state);
  eval::KlRun run(engine.model, engine.pool,
                  {eval::kl_arms(o.kv, o.session), skip, input.reference ? &*input.reference : nullptr});
  const std::size_t steps = run.steps(o.context);
  std::size_t step = state.records.size() * steps;
  eval::Progress progress("eval kl", (state.records.size() + contexts.size()) * steps, step);
  for (const std::size_t i : contexts) {
    auto record = run.run(i, input.contexts.source[i], input.contexts.at(i), [&] {
      progress.update(++step);
      return !Interrupt::flag();
    });
    if (!record) break;
    if (writer) writer->add(*record);
    state.records.push_back(std::move(*record));
  }
  std::sort(state.records.begin(), state.records.end(),
            [](const auto& a, const auto& b) { return a.context < b.context; });
}

void evaluate(KlFlags o, const CLI::App& command) {
  require_standard_output();
  resolve(o);
  std::optional<OutputFile> per_token;
  if (!o.per_token.empty()) per_token.emplace(o.per_token);
  std::optional<KlReport> report;
  if (!o.report.path.empty()) report.emplace(o.report, command);
  EvalEngine engine(o);
  if (report) report->read_text(o, engine);
  const Input input = read_input(o, engine);
  const std::size_t skip = first_scored(o, input);
  eval::KlState state{header_of(o, engine, input, skip), {}};
  note(fmt::format("{} contexts of {} tokens, {} used\n", input.contexts.available, o.context,
                   input.contexts.size()));
  const Interrupt interrupt;
  measure(o, engine, input, skip, state);
  const bool interrupted = Interrupt::flag();
  if (state.records.empty()) {
    note("no context was finished\n");
  } else {
    print_kl(state, o.json, per_token);
    if (report) report->write(eval::kl_result(state), o);
  }
  if (interrupted) Interrupt::exit_by_signal();
}

}  // namespace

void print_kl(const eval::KlState& state, bool json, std::optional<OutputFile>& per_token) {
  if (per_token) {
    const std::string lines = eval::per_token_lines(state);
    per_token->write(std::as_bytes(std::span(lines)));
    per_token->commit();
  }
  const nlohmann::json result = eval::kl_result(state);
  write_output(json ? result.dump() + "\n" : eval::kl_table(result));
}

void add_eval_kl(CLI::App& eval) {
  CLI::App* const command = eval.add_subcommand(
      "kl", "KL from f16, top-1 agreement and perplexity of texts, through the real cache");
  const auto o = std::make_shared<KlFlags>();
  add_eval_options(*command, *o, "contexts");
  add_memory_options(*command, o->session);
  command->add_option("--data", o->data, "Text in UTF-8, perhaps gzipped; can be given several times")
      ->type_name("FILE");
  command
      ->add_option("--context", o->context, fmt::format("Tokens of a context (default: {})", kDefaultContext))
      ->check(CLI::Range(kMinContext, kMaxContext))
      ->type_name("N");
  command->add_option("--skip", o->skip, "Positions of each context that are not scored (default: a quarter)")
      ->type_name("N");
  command
      ->add_option("--reference", o->reference,
                   "Compare with these logits instead, saved by llama-perplexity --kl-divergence-base")
      ->type_name("FILE");
  command->add_option("--per-token", o->per_token, "Write a JSON line a scored token")->type_name("FILE");
  add_report_options(*command, o->report);
  command->callback([o, command] { evaluate(*o, *command); });
}

}  // namespace miser::cli
