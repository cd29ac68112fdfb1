#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/chat.h"
#include "cli/commands.h"
#include "cli/run_engine.h"
#include "cli/run_interrupt.h"
#include "cli/run_options.h"
#include "cli/run_output.h"
#include "cli/run_printer.h"
#include "cli/run_report.h"
#include "cli/trace.h"
#include "session/generate.h"

namespace miser::cli {
namespace {

GenerateOptions generate_options(const RunOptions& options) {
  GenerateOptions generation;
  generation.max_tokens = options.max_tokens;
  generation.ignore_eos = options.ignore_eos;
  generation.stop = options.stop;
  generation.interrupt = &Interrupt::flag();
  generation.prefill_step = options.session.batch;
  generation.on_prefill = [](std::size_t done, std::size_t total) {
    show_status(done == total ? "" : fmt::format("reading the prompt: {} of {} tokens", done, total));
  };
  return generation;
}

// Continues the prompt as it is, without a chat template.
std::string complete(Engine& engine, const RunOptions& options, GenerateOptions generation, Printer& printer,
                     Totals& totals) {
  const std::vector<Token> prompt = engine.tokenizer.encode(*options.prompt);
  if (options.no_display_prompt) {
    printer.begin(prompt.size());
  } else {
    generation.on_prefill = [&, status = generation.on_prefill](std::size_t done, std::size_t total) {
      status(done, total);
      if (done == total) printer.prompt(*options.prompt, prompt);
    };
  }
  Generation result = generate(engine.session, engine.tokenizer, engine.sampler, prompt, generation,
                               [&](std::string_view text) { printer.add(text); });
  printer.end("");
  if (isatty(STDOUT_FILENO) != 0 && !printer.at_line_start()) write_output("\n");
  totals.add(result);
  return std::move(result.text);
}

void run(RunOptions options) {
  require_standard_output();
  resolve(options);
  std::optional<Trace> trace;
  if (!options.trace.empty()) trace.emplace(options.trace);
  Engine engine(options);
  if (options.verbose) note(describe(engine, options));
  const Interrupt interrupt;
  Printer printer(engine, options);
  Totals totals;
  const std::string text = options.chat
                               ? chat(engine, options, generate_options(options), printer, totals)
                               : complete(engine, options, generate_options(options), printer, totals);
  if (options.json) write_output(to_json(engine, totals, text).dump() + "\n");
  if (trace) trace->write(engine.session, engine.tokenizer);
  note(summary(engine, totals));
  if (!options.chat && totals.stop_reason == StopReason::kInterrupted) Interrupt::exit_by_signal();
}

}  // namespace

void add_run(CLI::App& app) {
  CLI::App* command = app.add_subcommand("run", "Generate text from a prompt, or chat");
  const auto options = std::make_shared<RunOptions>();
  add_run_options(*command, *options);
  command->callback([options] { run(*options); });
}

}  // namespace miser::cli
