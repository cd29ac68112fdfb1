#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/run_options.h"

namespace {

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;

int report(const char* what, int exit_code) {
  std::fprintf(stderr, "miser: %s\n", what);  // never throws, even when nobody can read it
  return exit_code;
}

int run(int argc, char** argv) {
  CLI::App app{"Runs small language models with a KV cache that spends bits only where they matter.",
               "miser"};
  app.set_version_flag("--version", MISER_VERSION);
  app.require_subcommand(1);
  miser::cli::add_run(app);
  miser::cli::add_tokenize(app);
  miser::cli::add_inspect(app);
  miser::cli::add_bench(app);
  miser::cli::add_eval(app);
  miser::cli::add_train(app);
  auto arguments = miser::cli::expand_short_names(app, argc, argv);
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  try {
    app.parse(arguments);
  } catch (const CLI::Success& e) {
    return app.exit(e);  // prints help or version
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed stdout is an error of write, reported like any other
  try {
    return run(argc, argv);
  } catch (const CLI::ParseError& e) {
    return report(e.what(), kExitUsage);
  } catch (const miser::UsageError& e) {
    return report(e.what(), kExitUsage);
  } catch (const std::bad_alloc&) {
    return report("out of memory", kExitError);
  } catch (const std::exception& e) {
    return report(e.what(), kExitError);
  }
}
