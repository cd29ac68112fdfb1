#pragma once
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/output_file.h"
#include "cli/eval_options.h"
#include "report/report.h"

namespace miser::cli {

/// --report of `miser eval kl` and what belongs to it.
struct ReportOptions {
  std::string path;   ///< empty: none is written
  std::string text;   ///< file whose tokens are shown; empty: report::sample_text()
  std::string bench;  ///< file of `miser bench --json`, or empty
};

void add_report_options(CLI::App& command, ReportOptions& options);

/// The command line as typed, quoted for a shell, from the options that `command` was given.
std::string typed_command(const CLI::App& command);

/// What ran it, when: machine, version, date.
std::vector<report::Fact> run_facts(int threads);

/// A report in the making: its files are opened and read before the work, so that a bad one is known early.
class KlReport {
 public:
  /// `command` is the one that the user typed. Throws Error naming the file that cannot be used.
  KlReport(const ReportOptions& options, const CLI::App& command);

  /// Reads the text under the policies that adapt. Throws Error when it is empty or too long.
  void read_text(const EvalOptions& options, EvalEngine& engine);

  /// Adds the figures of `miser eval kl --json` and writes the page. Throws Error when it cannot be written.
  void write(const nlohmann::json& result, const EvalOptions& options);

 private:
  OutputFile file_;
  std::string text_;
  report::ReportData data_;
};

}  // namespace miser::cli
