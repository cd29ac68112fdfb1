#include "cli/commands.h"
#include "cli/eval_commands.h"

namespace miser::cli {

void add_eval(CLI::App& app) {
  CLI::App* const command =
      app.add_subcommand("eval", "Measure what cache policies cost: KL from f16, perplexity, accuracy");
  command->require_subcommand(1);
  add_eval_kl(*command);
  add_eval_tasks(*command);
  add_eval_frontier(*command);
  add_eval_gate(*command);
  add_eval_merge(*command);
}

}  // namespace miser::cli
