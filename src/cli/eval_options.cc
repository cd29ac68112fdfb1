#include "cli/eval_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "cli/default_model.h"
#include "cli/run_threads.h"
#include "policy/plan_spec.h"
#include "session/centres.h"

namespace miser::cli {
namespace {

/// All that the options name.
std::vector<std::string> plan_files(const EvalOptions& options) {
  std::vector<std::string> files;
  if (!options.plan.file.empty()) files.push_back(options.plan.file);
  for (const std::string& kv : options.kv) {
    const auto spec = policy::parse_plan_spec(kv);
    if (spec && !spec->file.empty()) files.push_back(spec->file);
  }
  return files;
}

Shard parse_shard(const std::string& text) {
  Shard shard;
  const char* const end = text.data() + text.size();
  const auto index = std::from_chars(text.data(), end, shard.index);
  const bool slash = index.ec == std::errc() && index.ptr != end && *index.ptr == '/';
  const auto n = slash ? std::from_chars(index.ptr + 1, end, shard.n) : index;
  if (!slash || n.ec != std::errc() || n.ptr != end || shard.index >= shard.n)
    fail_usage("--shard: found '{}', expected INDEX/N with INDEX from 0 to N - 1", text);
  return shard;
}

}  // namespace

void add_eval_options(CLI::App& command, EvalOptions& o, const std::string& documents) {
  command.add_option("-m,--model", o.model, "GGUF file (default: the model that ./dev model fetches)")
      ->type_name("FILE");
  command
      .add_option("--kv", o.kv,
                  "Cache policy, as in miser run; can be given several times. f16 is always beside them")
      ->type_name("POLICY")
      ->allow_extra_args(false);
  command.add_option("--limit", o.limit, "Most " + documents + ", spread evenly over all; 0: all")
      ->check(whole(0, kMaxCount))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("-t,--threads", o.threads, "Threads (default: physical cores)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  add_packing_options(command, o.session, o.kv_scales_flag, o.centres);
  add_plan_options(command, o.plan);
  command
      .add_option("--resume", o.resume,
                  "Keep finished " + documents + " in this file, and go on with those that are in it")
      ->type_name("FILE");
  command
      .add_option("--shard", o.shard_flag,
                  "Only every N-th of the " + documents + " from INDEX on; for miser eval merge")
      ->type_name("INDEX/N")
      ->capture_default_str();
  command.add_flag("--json", o.json, "Print one JSON object");
}

void resolve(EvalOptions& o) {
  o.kv = canonical_policies(o.kv, o.plan);
  std::erase(o.kv, "f16");
  o.kv.insert(o.kv.begin(), "f16");
  o.shard = parse_shard(o.shard_flag);
  o.session.kv_scales = scale_rule(o.kv_scales_flag);
  if (o.threads == 0) o.threads = physical_cores();
  if (o.model.empty()) o.model = default_model_path();
}

EvalEngine::EvalEngine(EvalOptions& options)
    : model(Model::load(options.model)), tokenizer(model.file()), pool(options.threads) {
  check_vocabulary(model, tokenizer);
  if (!options.centres.empty()) options.session.kv_centres = read_centres(options.centres, model.config());
  options.session.plans = checked_plans(model, options.kv, options.plan, options.session);
}

nlohmann::json eval_header(const EvalOptions& options, const EvalEngine& engine, const std::string& task) {
  const auto of_file = [](const std::string& path) -> nlohmann::json {
    const MappedFile file(path);
    return {{"name", std::filesystem::path(path).filename().string()},
            {"bytes", file.bytes().size()},
            {"hash", fingerprint(file.bytes())}};
  };
  nlohmann::json header = {{"miser_eval", 1},
                           {"task", task},
                           {"model", of_file(engine.model.file().name())},
                           {"kv", options.kv},
                           {"kv_window", options.session.kv_window},
                           {"kv_block", options.session.kv_block},
                           {"kv_scales", options.kv_scales_flag},
                           {"shard", fmt::format("{}/{}", options.shard.index, options.shard.n)}};
  if (!options.centres.empty()) header["kv_centres"] = of_file(options.centres);
  for (const std::string& path : plan_files(options)) header["plans"].push_back(of_file(path));
  return header;
}

std::string fingerprint(std::span<const std::byte> bytes) {
  Hash hash;
  hash.add(bytes);
  return fmt::format("{:016x}", hash.value());
}

}  // namespace miser::cli
