#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/default_model.h"
#include "cli/run_output.h"
#include "cli/run_threads.h"
#include "cli/shared_options.h"
#include "eval/random_model.h"
#include "eval/shapes.h"

namespace miser::cli {
namespace {

constexpr std::size_t kMaxTokens = std::size_t{1} << 30U;
constexpr std::size_t kMaxRepetitions = 10000;
constexpr std::uint64_t kWeightSeed = 1;

struct BenchOptions {
  std::string model;
  std::string shape;
  std::string save;
  int threads = 0;  ///< 0: physical cores
  std::string format = "md";
  bool json = false;
  bool csv = false;
  bool allow_debug = false;
  PlanOptions plan;
  eval::SpeedOptions speed;
};

void add_model_options(CLI::App& command, BenchOptions& o) {
  CLI::Option* const model =
      command.add_option("-m,--model", o.model, "GGUF file (default: the model that ./dev model fetches)")
          ->type_name("FILE");
  CLI::Option* const shape =
      command
          .add_option(
              "--shape", o.shape,
              "Random weights of this shape instead of a file: smollm-135m, smollm-360m, smollm-1.7b or "
              "llama-3.2-1b, with :Q4_0 (default), :Q4_1, :Q8_0 or :F16")
          ->type_name("SHAPE")
          ->excludes(model);
  command.add_option("--save", o.save, "Keep the random model in this GGUF file, for other engines")
      ->type_name("FILE")
      ->needs(shape);
  command.add_option("-c,--ctx-size", o.speed.session.context, "Context in tokens (default: what is needed)")
      ->check(CLI::Range(std::size_t{1}, kMaxTokens))
      ->type_name("N");
}

void add_test_options(CLI::App& command, BenchOptions& o) {
  command.add_option("-d,--depth,--n-depth", o.speed.depths, "Tokens in the cache before each test")
      ->delimiter(',')
      ->check(CLI::Range(std::size_t{0}, kMaxTokens))
      ->type_name("N,...")
      ->capture_default_str();
  command.add_option("-p,--n-prompt", o.speed.n_prompt, "Tokens of prefill to time; 0: none")
      ->check(CLI::Range(std::size_t{0}, kMaxTokens))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("-n,--n-gen", o.speed.n_gen, "Tokens of decoding to time; 0: none")
      ->check(CLI::Range(std::size_t{0}, kMaxTokens))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("-r,--repetitions", o.speed.repetitions, "Repetitions of each test, after a warm-up")
      ->check(CLI::Range(std::size_t{1}, kMaxRepetitions))
      ->type_name("N")
      ->capture_default_str();
}

void add_engine_options(CLI::App& command, BenchOptions& o) {
  command.add_option("-t,--threads", o.threads, "Threads (default: physical cores)")
      ->check(whole(1, kMaxThreads))
      ->type_name("N");
  command.add_option("-b,--batch-size", o.speed.session.batch, "Most tokens in one forward pass")
      ->check(CLI::Range(std::size_t{1}, kMaxTokens))
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option(
          "--kv", o.speed.kv,
          "Cache policy, as in miser run; can be given several times, the first is the base of ratios")
      ->allow_extra_args(false)
      ->type_name("POLICY")
      ->capture_default_str();
  add_plan_options(command, o.plan);
  add_memory_options(command, o.speed.session);
  command.add_option("--kv-window", o.speed.session.kv_window, "Newest tokens that stay exact")
      ->check(CLI::Range(std::size_t{0}, kMaxTokens))
      ->type_name("N")
      ->capture_default_str();
}

void add_output_options(CLI::App& command, BenchOptions& o) {
  CLI::Option* const output = command.add_option("-o,--output", o.format, "Format of the results")
                                  ->check(CLI::IsMember({"md", "csv", "json", "jsonl"}))
                                  ->type_name("FORMAT")
                                  ->capture_default_str();
  CLI::Option* const json = command.add_flag("--json", o.json, "Same as -o json")->excludes(output);
  command.add_flag("--csv", o.csv, "Same as -o csv")->excludes(output)->excludes(json);
  command.add_flag("--allow-debug", o.allow_debug, "Run even when asserts slow everything down");
}

void resolve(BenchOptions& o) {
  eval::SpeedOptions& speed = o.speed;
  if (o.json) o.format = "json";
  if (o.csv) o.format = "csv";
  if (o.threads == 0) o.threads = physical_cores();
  if (speed.n_prompt == 0 && speed.n_gen == 0)
    fail_usage("found -p 0 and -n 0, expected something to measure");
  speed.kv = canonical_policies(speed.kv, o.plan);
  std::sort(speed.depths.begin(), speed.depths.end());
  speed.depths.erase(std::unique(speed.depths.begin(), speed.depths.end()), speed.depths.end());
  const std::size_t needed = speed.depths.back() + std::max(speed.n_prompt, speed.n_gen);
  if (speed.session.context == 0) speed.session.context = needed;
  if (speed.session.context < needed) {
    fail_usage("--ctx-size: found {}, expected at least {} for the deepest test", speed.session.context,
               needed);
  }
}

Model load(const BenchOptions& o) {
  if (o.shape.empty()) return Model::load(o.model.empty() ? default_model_path() : o.model);
  const eval::Shape shape = eval::parse_shape(o.shape);
  show_status("making random weights");
  if (o.save.empty()) return eval::make_random_model(shape, o.speed.session.context, kWeightSeed);
  eval::write_random_model(shape, o.speed.session.context, kWeightSeed, o.save);
  return Model::load(o.save);
}

BenchResult describe(const Model& model, const BenchOptions& o) {
  BenchResult result;
  result.model = o.shape.empty() ? std::filesystem::path(model.file().name()).stem().string()
                                 : eval::parse_shape(o.shape).name;
  for (const gguf::Tensor& tensor : model.file().tensors()) {
    result.model_bytes += tensor.data.size();
    result.model_params += tensor.rows() * tensor.cols();
  }
  result.bytes_per_token = model.bytes_per_token();
  result.threads = o.threads;
  result.n_prompt = o.speed.n_prompt;
  result.n_gen = o.speed.n_gen;
  result.machine = eval::this_machine();
  return result;
}

void bench(BenchOptions o) {
  require_standard_output();
  if (eval::this_machine().asserts && !o.allow_debug) {
    fail("bench: this build checks asserts, so its speeds say little: use a release build, or --allow-debug");
  }
  resolve(o);
  const Model model = load(o);
  if (o.speed.session.context > model.config().context) {
    note(fmt::format("warning: a context of {} is more than the {} that the model was trained for\n",
                     o.speed.session.context, model.config().context));
  }
  o.speed.session.plans = checked_plans(model, o.speed.kv, o.plan, o.speed.session);
  nn::ThreadPool pool(o.threads);
  BenchResult result = describe(model, o);
  show_status("measuring the memory");
  result.memory = eval::measure_bandwidth(eval::uncached_bytes(), pool);
  result.weights = eval::measure_bandwidth(result.bytes_per_token, pool);
  o.speed.on_progress = [&](const eval::SpeedProgress& at) {
    show_status(
        fmt::format("depth {}, {}: {} of {} repetitions", at.depth, at.kv, at.round, o.speed.repetitions));
  };
  result.rows = eval::measure_speed(model, pool, o.speed);
  show_status("");
  write_output(format_bench(result, o.format));
}

}  // namespace

void add_bench(CLI::App& app) {
  CLI::App* const command =
      app.add_subcommand("bench", "Measure prefill and decode speed at given depths, policies side by side");
  const auto options = std::make_shared<BenchOptions>();
  add_model_options(*command, *options);
  add_test_options(*command, *options);
  add_engine_options(*command, *options);
  add_output_options(*command, *options);
  command->callback([options] { bench(*options); });
}

}  // namespace miser::cli
