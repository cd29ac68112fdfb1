#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/output_file.h"
#include "cli/eval_commands.h"
#include "cli/run_output.h"
#include "eval/kl_state.h"
#include "eval/task_result.h"
#include "eval/task_state.h"

namespace miser::cli {
namespace {

struct MergeOptions {
  std::vector<std::string> states;
  std::string save;
  std::string per_token;
  bool json = false;
};

/// Files of the results, made before the work; those that no option names are not.
struct Outputs {
  explicit Outputs(const MergeOptions& o) {
    if (!o.save.empty()) save.emplace(o.save);
    if (!o.per_token.empty()) per_token.emplace(o.per_token);
  }
  void write_state(const std::string& lines) {
    if (!save) return;
    save->write(std::as_bytes(std::span(lines)));
    save->commit();
  }
  std::optional<OutputFile> save;
  std::optional<OutputFile> per_token;
};

void merge_kl(const MergeOptions& o) {
  Outputs outputs(o);
  const eval::KlState state = eval::merge_kl_states(o.states);
  outputs.write_state(eval::state_lines(state));
  print_kl(state, o.json, outputs.per_token);
}

void merge_task(const MergeOptions& o) {
  if (!o.per_token.empty()) fail_usage("--per-token is for states of miser eval kl");
  Outputs outputs(o);
  const eval::TaskState state = eval::merge_states(o.states);
  outputs.write_state(eval::state_lines(state));
  write_output(o.json ? eval::task_result(state).dump() + "\n" : eval::task_table(state));
}

}  // namespace

void add_eval_merge(CLI::App& eval) {
  CLI::App* const command =
      eval.add_subcommand("merge", "Join the states of all shards of a run and print its results");
  const auto o = std::make_shared<MergeOptions>();
  command->add_option("STATE", o->states, "Files that --resume wrote")->required();
  command->add_option("--save", o->save, "Write the state that one run of all would have kept by --resume")
      ->type_name("FILE");
  command->add_option("--per-token", o->per_token, "Write a JSON line a scored token")->type_name("FILE");
  command->add_flag("--json", o->json, "Print one JSON object");
  command->callback([o] {
    require_standard_output();
    const bool kl = eval::is_kl_header(eval::read_state_header(o->states[0]));
    kl ? merge_kl(*o) : merge_task(*o);
  });
}

}  // namespace miser::cli
