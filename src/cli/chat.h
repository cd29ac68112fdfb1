#pragma once
#include <string>

#include "cli/run_engine.h"
#include "cli/run_options.h"
#include "cli/run_printer.h"
#include "cli/run_report.h"

namespace miser::cli {

/// Talks until the input ends, the context is full, or Ctrl-C is pressed at the prompt; with --json answers
/// only the first message. Every turn goes on with the cache of the turns before it. Returns the text of the
/// last answer. Throws Error when the model's chat template is unknown or the first message does not fit.
std::string chat(Engine& engine, const RunOptions& options, const GenerateOptions& generation,
                 Printer& printer, Totals& totals);

}  // namespace miser::cli
