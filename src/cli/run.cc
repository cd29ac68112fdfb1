#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
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
#include "session/prompt_cache.h"

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

std::string text_of(const Tokenizer& tokenizer, const std::vector<Token>& tokens) {
  std::string text;
  for (const Token token : tokens) text += tokenizer.piece(token);
  return text;
}

// Continues the prompt as it is, without a chat template; without one, the text of the prompt cache.
std::string complete(Engine& engine, const RunOptions& options, GenerateOptions generation, Printer& printer,
                     Totals& totals) {
  std::optional<PromptCache> cache;
  if (!options.prompt_cache.empty()) cache.emplace(engine.session, options.prompt_cache);
  if (!options.prompt && engine.session.size() == 0)
    fail("{}: there is no such file to go on from, and no prompt", options.prompt_cache);
  const std::vector<Token> prompt =
      options.prompt ? engine.tokenizer.encode(*options.prompt) : engine.session.tokens();
  if (options.no_display_prompt) {
    printer.begin(prompt.size());
  } else {
    generation.on_prefill = [&, status = generation.on_prefill](std::size_t done, std::size_t total) {
      status(done, total);
      if (done == total)
        printer.prompt(options.prompt ? *options.prompt : text_of(engine.tokenizer, prompt), prompt);
    };
  }
  const std::span<const Token> unread = cache ? cache->begin(prompt) : prompt;
  if (cache) {
    generation.logits = cache->logits();
    totals.n_reused = cache->n_reused();
    if (!options.prompt_cache_ro)
      generation.on_prompt_read = [&](std::span<const float> logits) { cache->save_prompt(logits); };
  }
  Generation result =
      generate(engine.session, engine.tokenizer, engine.sampler, {unread.begin(), unread.end()}, generation,
               [&](std::string_view text) { printer.add(text); });
  if (options.prompt_cache_all && engine.session.size() > 0) cache->save(result.logits);
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
