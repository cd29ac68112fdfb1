#include "cli/train_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <sstream>

#include "base/error.h"
#include "cli/default_model.h"
#include "cli/run_threads.h"
#include "cli/shared_options.h"
#include "cli/train_latency.h"
#include "kv/segment.h"
#include "learn/fit_controller.h"

namespace miser::cli {
namespace {

constexpr std::size_t kMinTrainContext = 16;

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> items;
  std::istringstream stream(list);
  for (std::string item; std::getline(stream, item, ',');) items.push_back(item);
  return items;
}

std::vector<kv::Width> parse_ladder(const std::string& list) {
  std::vector<kv::Width> ladder;
  for (const std::string& item : split(list)) {
    const auto found = std::find_if(kv::kAllWidths.begin(), kv::kAllWidths.end(),
                                    [&](kv::Width width) { return std::to_string(kv::bits(width)) == item; });
    if (found == kv::kAllWidths.end())
      fail_usage("--ladder: found '{}', expected one of 1, 2, 3, 4, 8, 16", item);
    if (!ladder.empty() && *found <= ladder.back())
      fail_usage("--ladder: found '{}', expected ascending widths", list);
    ladder.push_back(*found);
  }
  if (ladder.size() < 2) fail_usage("--ladder: found '{}', expected at least two widths", list);
  return ladder;
}

void add_text_options(CLI::App& command, TrainOptions& o) {
  command.add_option("-m,--model", o.model, "GGUF file (default: the model that ./dev model fetches)")
      ->type_name("FILE");
  command.add_option("--text", o.text, "Training text in UTF-8, perhaps gzipped; can be given several times")
      ->required()
      ->type_name("FILE");
  command.add_option("-o,--output", o.output, "The plan file (default: the model's name with .plan.gguf)")
      ->type_name("FILE");
  command.add_option("--contexts", o.contexts, "Contexts to learn from, spread evenly over the texts")
      ->check(whole(1, kMaxCount))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--context", o.context, "Tokens of a context")
      ->check(whole(kMinTrainContext, kMaxCount))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--test", o.test, "Held-out text: print what the plan is expected to cost on it")
      ->type_name("FILE");
  command.add_option("--test-contexts", o.test_contexts, "Contexts of the held-out texts")
      ->check(whole(1, kMaxCount))
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--work", o.work,
                  "Folder for the traces, kept for another run (default: OUTPUT.traces, removed at the end)")
      ->type_name("DIR");
  command.add_option("-t,--threads", o.threads, "Threads (default: physical cores)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  command.add_flag("--json", o.json, "Print one JSON object");
}

void add_fit_options(CLI::App& command, TrainOptions& o) {
  command
      .add_option("--controller", o.controller_flag,
                  "learned (for the decision), ridge (for the label), or paper (the network of the paper), "
                  "which may stand beside one of the others: learned,paper")
      ->check(CLI::IsMember({"learned", "ridge", "paper", "learned,paper", "ridge,paper"}))
      ->type_name("NAME")
      ->capture_default_str();
  command.add_option("--samples", o.trace.n_samples, "Draws from the model for each context's sensitivities")
      ->check(whole(1, 1024))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--signals", o.signals_flag, "Names, separated by commas (default: all)")
      ->type_name("LIST");
  command.add_option("--ladder", o.ladder_flag, "Widths that may be chosen")
      ->type_name("LIST")
      ->capture_default_str();
  command
      .add_option("--share", o.share_flag,
                  "One function of the signals for each head, for each layer, or for all")
      ->check(CLI::IsMember({"head", "layer", "model"}))
      ->type_name("SCOPE")
      ->capture_default_str();
  command.add_flag("--no-centres{false}", o.fit.centred, "Quantise vectors as they are, not less their mean");
  command.add_option("--kv-window", o.trace.window, "Newest tokens that stay exact")
      ->check(whole(0, kMaxCount))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--kv-block", o.trace.block, "Tokens leave the window in blocks of this size")
      ->check(whole(1, kv::Segment::kMaxTokens))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("-s,--seed", o.trace.seed, "Of the draws and of the training")
      ->type_name("N")
      ->capture_default_str();
}

void add_paper_options(CLI::App& command, TrainOptions& o) {
  command.add_option("--paper-labels", o.labels_flag, "The paper's classes: by price, or quartiles")
      ->check(CLI::IsMember({"price", "quartile"}))
      ->type_name("RULE")
      ->capture_default_str();
  command
      .add_option("--paper-bits", o.fit.paper.label_bits, "Mean stored bits per element of classes by price")
      ->check(CLI::Range(2.5, 15.5))
      ->type_name("X")
      ->capture_default_str();
  command
      .add_option(
          "--latency", o.latency,
          "What miser bench --json printed for q2, q4, q8 and f16: the paper's latencies (default: in "
          "proportion to bits)")
      ->type_name("FILE");
}

}  // namespace

void add_train_options(CLI::App& command, TrainOptions& options) {
  add_text_options(command, options);
  add_fit_options(command, options);
  add_paper_options(command, options);
}

void resolve(TrainOptions& o) {
  if (kv::Segment::kMaxTokens % o.trace.block != 0)
    fail_usage("--kv-block is {}, expected a divisor of {}", o.trace.block, kv::Segment::kMaxTokens);
  o.fit.controller = o.controller_flag == "paper"             ? learn::Controller::kPaper
                     : o.controller_flag.starts_with("ridge") ? learn::Controller::kRidge
                                                              : learn::Controller::kLearned;
  o.fit.with_paper = o.controller_flag.ends_with(",paper");
  o.fit.ladder = parse_ladder(o.ladder_flag);
  o.fit.linear.share = o.share_flag == "model"   ? learn::Share::kModel
                       : o.share_flag == "layer" ? learn::Share::kLayer
                                                 : learn::Share::kHead;
  if (!o.signals_flag.empty()) o.fit.linear.signals = split(o.signals_flag);
  o.fit.linear.decision.seed = o.fit.paper.seed = o.trace.seed;
  if (o.labels_flag == "quartile") o.fit.paper.labels = learn::PaperOptions::Labels::kQuartile;
  if (!o.latency.empty()) o.fit.paper.latency = read_latencies(o.latency);
  if (o.threads == 0) o.threads = physical_cores();
  if (o.model.empty()) o.model = default_model_path();
  if (o.output.empty()) o.output = std::filesystem::path(o.model).stem().string() + ".plan.gguf";
  o.keep_work = !o.work.empty();
  if (!o.keep_work) o.work = o.output + ".traces";
}

}  // namespace miser::cli
