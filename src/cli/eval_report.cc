#include "cli/eval_report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "eval/kl_contexts.h"
#include "eval/machine.h"
#include "policy/policy.h"
#include "report/heat_map.h"
#include "report/page.h"
#include "report/read.h"

namespace miser::cli {
namespace {

/// Texts shown, at most: each adds some hundred bytes a token to the page.
constexpr std::size_t kMaxHeatMaps = 3;

std::string quoted(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=,+@%-";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

/// Those whose widths differ between tokens; without one the last, which has the fewest bits if the user
/// typed them in order.
std::vector<std::string> shown_policies(const std::vector<std::string>& kv) {
  std::vector<std::string> shown;
  std::copy_if(kv.begin(), kv.end(), std::back_inserter(shown),
               [](const auto& name) { return !policy::is_fixed(name); });
  if (shown.empty()) shown.push_back(kv.back());
  if (shown.size() > kMaxHeatMaps) shown.resize(kMaxHeatMaps);
  return shown;
}

std::string memory_size() {
  const double bytes =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  return fmt::format("{:.1f} GiB", bytes / (1U << 30U));
}

}  // namespace

void add_report_options(CLI::App& command, ReportOptions& options) {
  CLI::Option* const path =
      command
          .add_option("--report", options.path, "Write a page of figures, one HTML file that loads nothing")
          ->type_name("FILE");
  command
      .add_option("--report-text", options.text,
                  fmt::format("Text of at most {} tokens whose bits it shows (default: one of ours)",
                              report::kMaxHeatTokens))
      ->type_name("FILE")
      ->needs(path);
  command.add_option("--bench", options.bench, "Speeds to show in it: what miser bench --json printed")
      ->type_name("FILE")
      ->needs(path);
}

std::string typed_command(const CLI::App& command) {
  std::string line;
  for (const CLI::App* app = &command; app != nullptr; app = app->get_parent())
    line.insert(0, app->get_name() + (line.empty() ? "" : " "));
  for (const CLI::Option* const option : command.get_options()) {
    const std::string& name =
        option->get_lnames().empty() ? option->get_snames()[0] : option->get_lnames()[0];
    const bool is_flag = option->get_items_expected_max() == 0;
    for (const std::string& value : option->results())
      line += is_flag ? fmt::format(" --{}", name) : fmt::format(" --{} {}", name, quoted(value));
  }
  return line;
}

std::vector<report::Fact> run_facts(int threads) {
  const eval::Machine machine = eval::this_machine();
  return {{"Machine", fmt::format("{} ({}), {} of memory; {} thread{} used", machine.cpu, machine.simd,
                                  memory_size(), threads, threads == 1 ? "" : "s")},
          {"Miser", fmt::format("{}, {} build", machine.version, machine.build_type)},
          {"Date", fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(std::time(nullptr)))}};
}

KlReport::KlReport(const ReportOptions& options, const CLI::App& command)
    : file_(options.path),
      text_(options.text.empty() ? std::string(report::sample_text()) : eval::read_text(options.text)) {
  if (!options.bench.empty()) report::add_bench(options.bench, data_);
  data_.commands.push_back({"This page", typed_command(command)});
}

void KlReport::read_text(const EvalOptions& options, EvalEngine& engine) {
  for (const std::string& kv : shown_policies(options.kv)) {
    SessionOptions session = options.session;
    session.kv = kv;
    data_.heat_maps.push_back(
        report::heat_map(engine.model, engine.pool, engine.tokenizer, std::move(session), text_));
  }
}

void KlReport::write(const nlohmann::json& result, const EvalOptions& options) {
  report::add_kl(result, data_);
  for (report::Fact& fact : run_facts(options.threads)) data_.facts.push_back(std::move(fact));
  report::write_report(file_, data_);
}

}  // namespace miser::cli
