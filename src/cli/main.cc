#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <exception>

#include "base/error.h"
#include "cli/commands.h"

namespace {

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;

int report(const char* what, int exit_code) {
  fmt::print(stderr, "miser: {}\n", what);
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed stdout is an error of write, reported like any other
  CLI::App app{"Runs small language models with a KV cache that spends bits only where they matter.", "miser"};
  app.set_version_flag("--version", MISER_VERSION);
  app.require_subcommand(1);
  miser::cli::add_run(app);
  miser::cli::add_tokenize(app);
  miser::cli::add_inspect(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& e) {
    return app.exit(e);
  } catch (const CLI::CallForAllHelp& e) {
    return app.exit(e);
  } catch (const CLI::CallForVersion& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return report(e.what(), kExitUsage);
  } catch (const miser::UsageError& e) {
    return report(e.what(), kExitUsage);
  } catch (const std::bad_alloc&) {
    return report("out of memory", kExitError);
  } catch (const std::exception& e) {
    return report(e.what(), kExitError);
  }
  return 0;
}
