#include "cli/eval_frontier_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "cli/shared_options.h"

namespace miser::cli {
namespace {

constexpr std::size_t kMaxSeeds = 1000;

std::vector<std::string> default_arms() {
  std::vector<std::string> names;
  for (const eval::ArmKind kind : eval::kAllArmKinds) {
    if (kind != eval::ArmKind::kFixedLs) names.emplace_back(eval::name(kind));
  }
  return names;
}

void add_work_options(CLI::App& command, FrontierFlags& o) {
  command.add_option("--limit", o.limit, "Most contexts of each text, spread evenly; 0: all")
      ->check(whole(0, kMaxCount))
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--replays", o.replays,
                  "Contexts of each text on which shuffles, inverted and oracle run too: most of the time")
      ->check(whole(0, kMaxCount))
      ->type_name("N")
      ->default_val(8);
  command.add_option("--seeds", o.seeds, "Shuffles at each budget")
      ->check(whole(1, kMaxSeeds))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--samples", o.samples, "Samples of the oracle's sensitivities")
      ->check(whole(1, kMaxSeeds))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("-t,--threads", o.threads, "Threads (default: physical cores)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
}

void add_output_options(CLI::App& command, FrontierFlags& o) {
  command
      .add_option("--resume", o.resume,
                  "Keep finished contexts in this file, and go on with those that are in it")
      ->type_name("FILE");
  command.add_flag("--json", o.json, "Print one JSON object");
  command.add_option("--report", o.report, "Write a page of figures, one HTML file that loads nothing")
      ->type_name("FILE");
  command.add_option("--record", o.record, "Write the plan with these figures in it, for miser inspect")
      ->type_name("FILE");
}

}  // namespace

void add_frontier_options(CLI::App& command, FrontierFlags& o) {
  command.add_option("-m,--model", o.model, "GGUF file (default: the model that ./dev model fetches)")
      ->type_name("FILE");
  command.add_option("--plan", o.plan.file, "The plan that miser train made (default: the built-in one)")
      ->type_name("FILE");
  command.add_flag("--force", o.plan.force, "Use the plan although it was made for other weights");
  command.add_option("--data", o.data, "Text in UTF-8, perhaps gzipped; can be given several times")
      ->type_name("FILE")
      ->allow_extra_args(false)
      ->required();
  command.add_option("--context", o.context, "Tokens of a context")
      ->check(CLI::Range(kMinContext, kMaxContext))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--skip", o.skip, "Positions of each context that are not scored (default: a quarter)")
      ->type_name("N");
  command.add_option("--bits", o.budgets, "Budgets, stored bits per element")
      ->delimiter(',')
      ->type_name("X,...")
      ->capture_default_str();
  command.add_option("--arms", o.arms_flag, "What to compare; learned is always among them")
      ->delimiter(',')
      ->type_name("NAME,...")
      ->default_str(fmt::format("{}", fmt::join(default_arms(), ",")));
  command.add_option("--kv-window", o.session.kv_window, "Newest tokens that stay exact")
      ->check(whole(0, kMaxCount))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--kv-block", o.session.kv_block, "Tokens leave the window in blocks of this size")
      ->check(whole(1, kMaxCount))
      ->type_name("N")
      ->capture_default_str();
  add_work_options(command, o);
  add_output_options(command, o);
}

void resolve_frontier(FrontierFlags& o) {
  resolve(o);
  if (!o.skip) o.skip = o.context / 4;
  if (*o.skip + 1 >= o.context)
    fail_usage("--skip is {}, expected less than {} in contexts of {}", *o.skip, o.context - 1, o.context);
  const std::size_t exact = o.session.kv_window + o.session.kv_block + kv::CacheConfig{}.sinks;
  if (o.context <= exact)
    fail_usage("--context is {}, of which nothing is packed: expected more than {}", o.context, exact);
  std::sort(o.budgets.begin(), o.budgets.end());
  for (const double bits : o.budgets) {
    if (!(bits >= 1 && bits <= 16)) fail_usage("--bits: found {}, expected 1 to 16", bits);
  }
  if (std::adjacent_find(o.budgets.begin(), o.budgets.end()) != o.budgets.end())
    fail_usage("--bits: found a budget twice");
  if (o.arms_flag.empty()) o.arms_flag = default_arms();
  o.kinds = {eval::ArmKind::kLearned};
  for (const std::string& name : o.arms_flag) {
    const eval::ArmKind kind = eval::arm_kind(name);
    if (std::find(o.kinds.begin(), o.kinds.end(), kind) == o.kinds.end()) o.kinds.push_back(kind);
  }
  std::sort(o.kinds.begin(), o.kinds.end());
}

}  // namespace miser::cli
