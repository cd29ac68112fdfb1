#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/eval_commands.h"
#include "cli/eval_options.h"
#include "cli/run_interrupt.h"
#include "cli/run_output.h"
#include "eval/items.h"
#include "eval/progress.h"
#include "eval/recall.h"
#include "eval/task.h"
#include "eval/task_result.h"
#include "eval/task_run.h"

namespace miser::cli {
namespace {

struct TaskOptions : EvalOptions {
  std::string data;
};

struct RecallFlags : EvalOptions {
  eval::RecallOptions recall;
};

eval::TaskState measure(const EvalOptions& o, EvalEngine& engine,
                        const std::vector<eval::Question>& questions, const nlohmann::json& header) {
  eval::RunOptions run{o.kv, o.session, o.shard.index, o.shard.n, o.resume, &Interrupt::flag(), {}};
  std::optional<eval::Progress> progress;
  run.on_progress = [&](std::size_t done, std::size_t total) {
    if (!progress)
      progress.emplace(fmt::format("eval {}", header.at("task").get<std::string>()), total, done);
    progress->update(done);
  };
  return eval::run_questions(engine.model, engine.pool, questions, run, header);
}

void evaluate(const EvalOptions& o, EvalEngine& engine, const std::vector<eval::Question>& questions,
              const nlohmann::json& header) {
  const Interrupt interrupt;
  const eval::TaskState state = measure(o, engine, questions, header);
  const bool interrupted = Interrupt::flag();
  if (state.records.empty()) {
    note("no item was finished\n");
  } else {
    write_output(o.json ? eval::task_result(state).dump() + "\n" : eval::task_table(state));
  }
  if (interrupted) Interrupt::exit_by_signal();
}

void evaluate_task(const eval::Task& task, TaskOptions o) {
  require_standard_output();
  resolve(o);
  const eval::ItemFile file = eval::read_items(task, o.data, o.limit);
  EvalEngine engine(o);
  nlohmann::json header = eval_header(o, engine, std::string(task.name));
  header["data"] = {{"name", std::filesystem::path(o.data).filename().string()},
                    {"hash", fmt::format("{:016x}", file.hash)}};
  evaluate(o, engine, eval::tokenize(file, engine.tokenizer), header);
}

/// The questions on `limit` documents (0: all) spread evenly.
std::vector<eval::Question> thin_out(std::vector<eval::Question> questions, std::size_t limit) {
  const std::size_t n = questions.back().document + 1;
  if (limit == 0 || limit >= n) return questions;
  std::vector<bool> kept(n);
  for (std::size_t i = 0; i < limit; ++i) kept[i * n / limit] = true;
  std::erase_if(questions, [&](const eval::Question& question) { return !kept[question.document]; });
  return questions;
}

void evaluate_recall(RecallFlags o) {
  require_standard_output();
  resolve(o);
  EvalEngine engine(o);
  nlohmann::json header = eval_header(o, engine, "recall");
  header["lengths"] = o.recall.lengths;
  header["seed"] = o.recall.seed;
  header["documents"] = o.recall.n_documents;
  evaluate(o, engine, thin_out(eval::recall_questions(engine.tokenizer, o.recall), o.limit), header);
}

void add_task(CLI::App& eval, const eval::Task& task) {
  CLI::App* const command = eval.add_subcommand(std::string(task.name), std::string(task.about));
  const auto o = std::make_shared<TaskOptions>();
  add_eval_options(*command, *o, "items");
  command->add_option("--data", o->data, "Items, a JSON object a line, perhaps gzipped; see docs/tasks.md")
      ->type_name("FILE")
      ->required();
  command->callback([o, &task] { evaluate_task(task, *o); });
}

void add_recall(CLI::App& eval) {
  CLI::App* const command = eval.add_subcommand("recall", "Find facts again in long generated documents");
  const auto o = std::make_shared<RecallFlags>();
  add_eval_options(*command, *o, "documents");
  command->add_option("--length", o->recall.lengths, "Tokens of a document (default: 1024,2048,4096)")
      ->check(CLI::Range(std::size_t{1}, kMaxContext))
      ->type_name("N,...")
      ->delimiter(',');
  command->add_option("--n", o->recall.n_documents, "Documents of each kind and length")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 20U))
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--seed", o->recall.seed, "Seed of the documents")
      ->type_name("S")
      ->capture_default_str();
  command->callback([o] { evaluate_recall(*o); });
}

}  // namespace

void add_eval_tasks(CLI::App& eval) {
  for (const eval::Task& task : eval::all_tasks()) add_task(eval, task);
  add_recall(eval);
}

}  // namespace miser::cli
