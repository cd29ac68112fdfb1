#pragma once
#include <CLI/CLI.hpp>

namespace miser::cli {

// Each registers one subcommand of `miser`; its callback does the work and throws Error or UsageError.
void add_run(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_inspect(CLI::App& app);
void add_bench(CLI::App& app);
void add_eval(CLI::App& app);
void add_train(CLI::App& app);

}  // namespace miser::cli
