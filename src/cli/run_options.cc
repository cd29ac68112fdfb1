#include "cli/run_options.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <random>
#include <string_view>

#include "base/error.h"
#include "cli/default_model.h"
#include "cli/run_threads.h"
#include "policy/policy.h"

namespace miser::cli {
namespace {

constexpr std::size_t kMaxPromptBytes = std::size_t{256} << 20U;  // far past any context; stops /dev/zero

void add_text_options(CLI::App& command, RunOptions& o) {
  command.add_option("-m,--model", o.model, "GGUF file (default: the model that ./dev model fetches)")
      ->type_name("FILE");
  command.add_option("-p,--prompt", o.prompt_flag, "Prompt; in a chat, the first message");
  command.add_option("-f,--file", o.file_flag, "Read the prompt from a file; its last newline is left out")
      ->type_name("FILE");
  command.add_flag("-i,--interactive,--conversation", o.chat, "Chat, with the model's chat template");
  command.add_option("--system-prompt", o.system, "System message of a chat; implies -i (short: -sys)");
  command.add_flag("--no-display-prompt", o.no_display_prompt, "Do not print the prompt before the text");
  command
      .add_option("-n,--predict,--n-predict", o.max_tokens,
                  "Most tokens to generate; -1: until the context is full")
      ->check(whole(-1, kMaxCount))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("-r,--reverse-prompt", o.stop, "Stop at this text; can be given several times")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  command.add_flag("--ignore-eos", o.ignore_eos, "Never draw a token that ends the text");
}

void add_sampling_options(CLI::App& command, RunOptions& o) {
  SamplingOptions& s = o.sampling;
  command.add_option("-s,--seed", o.seed_flag, "Seed of the sampler; -1: random")
      ->check(whole(-1, std::numeric_limits<std::uint32_t>::max()))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--temp", s.temperature, "Temperature; 0: always the likeliest token")
      ->type_name("X")
      ->capture_default_str();
  command.add_option("--top-k", s.top_k, "Draw among the K likeliest; 0: all")
      ->type_name("K")
      ->capture_default_str();
  command.add_option("--top-p", s.top_p, "Draw among the fewest that reach this probability")
      ->type_name("X")
      ->capture_default_str();
  command.add_option("--min-p", s.min_p, "Leave out tokens this much less likely than the first")
      ->type_name("X")
      ->capture_default_str();
  command.add_option("--repeat-penalty", s.repeat_penalty, "Penalty of recent tokens; 1: none")
      ->type_name("X")
      ->capture_default_str();
  command.add_option("--repeat-last-n", s.repeat_last_n, "Tokens that count as recent; -1: all")
      ->type_name("N")
      ->capture_default_str();
}

void add_engine_options(CLI::App& command, RunOptions& o) {
  command.add_option("-c,--ctx-size", o.session.context, "Context in tokens; 0: the model's")
      ->check(whole(0, kMaxCount))
      ->type_name("N")
      ->capture_default_str();
  command.add_flag(
      "--context-shift", o.session.context_shift,
      "When the context is full, go on without the older half of the text behind its first tokens");
  command.add_option("-b,--batch-size", o.session.batch, "Most tokens in one forward pass")
      ->check(whole(1, kMaxCount))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("-t,--threads", o.threads, "Threads (default: physical cores)")
      ->check(whole(1, kMaxThreads))
      ->type_name("N");
}

void add_cache_options(CLI::App& command, RunOptions& o) {
  command
      .add_option("--kv", o.kv_flag,
                  "Cache policy: f16, q8, q4, q3, q2, q1, k3v2 (any pair of 1, 2, 3, 4, 8, 16), "
                  "random:1=45,2=15,3=15,4=18,8=7[:SEED], rule; from a plan: learned, static, received with "
                  "[:PLAN][@BITS], paper[:PLAN] (default: learned if there is a plan for the model, else q8)")
      ->type_name("POLICY");
  command
      .add_option("--cache-type-k", o.cache_type_k_flag, "Keys as f16, q8_0 or q4_0, like --kv (short: -ctk)")
      ->type_name("TYPE");
  command
      .add_option("--cache-type-v", o.cache_type_v_flag,
                  "Values as f16, q8_0 or q4_0, like --kv (short: -ctv)")
      ->type_name("TYPE");
  add_packing_options(command, o.session, o.kv_scales_flag, o.centres);
  add_memory_options(command, o.session);
  add_plan_options(command, o.plan);
}

void add_prompt_cache_options(CLI::App& command, RunOptions& o) {
  command
      .add_option("--prompt-cache", o.prompt_cache,
                  "File that keeps what was read of the prompt: loaded where it exists, and written when "
                  "more was read. Without a prompt its text goes on")
      ->type_name("FILE");
  command.add_flag("--prompt-cache-all", o.prompt_cache_all, "Keep the generated text in it too");
  command.add_flag("--prompt-cache-ro", o.prompt_cache_ro, "Never write it");
}

void resolve_prompt_cache(const RunOptions& o) {
  if (o.prompt_cache.empty()) {
    if (o.prompt_cache_all || o.prompt_cache_ro)
      fail_usage("found --prompt-cache-all or -ro, expected --prompt-cache FILE with it");
    return;
  }
  if (o.prompt_cache_all && o.prompt_cache_ro)
    fail_usage("found both --prompt-cache-all and --prompt-cache-ro, expected one");
  if (o.chat) fail_usage("--prompt-cache keeps a prompt, not a chat");
  if (o.session.record)
    fail_usage("--show-bits and --trace need the whole text to be read: not with --prompt-cache");
}

void add_report_options(CLI::App& command, RunOptions& o) {
  command.add_option("--trace", o.trace, "Write a JSON line per token: signals and mean bits")
      ->type_name("FILE");
  command.add_flag(
      "--show-bits", o.show_bits,
      "Colour the text by the mean bits of each token's cache. They are known when a token leaves the "
      "window, so text appears in blocks, that much later");
  command.add_flag("--json", o.json, "Print one JSON object; a chat answers -p once");
  command.add_flag("-v,--verbose", o.verbose, "Say what is loaded and with which settings");
}

std::string read_prompt(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text;
  std::vector<char> buffer(std::size_t{1} << 16U);
  while (file && text.size() <= kMaxPromptBytes) {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    text.append(buffer.data(), static_cast<std::size_t>(file.gcount()));
  }
  if (text.size() > kMaxPromptBytes) fail("{}: found more than {} bytes of prompt", path, kMaxPromptBytes);
  if (!file.eof() || file.bad()) fail("{}: cannot be read: {}", path, std::strerror(errno));
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

void resolve_prompt(RunOptions& o) {
  if (o.prompt_flag && !o.file_flag.empty()) fail_usage("found both --prompt and --file, expected one");
  o.prompt = o.file_flag.empty() ? o.prompt_flag : read_prompt(o.file_flag);
  o.chat = o.chat || !o.system.empty();
  if (!o.prompt && !o.chat && o.prompt_cache.empty())
    fail_usage("no prompt: pass -p TEXT, -f FILE, or -i for a chat");
  if (!o.prompt && o.chat && o.json)
    fail_usage("--json answers one message of a chat: pass it with -p TEXT or -f FILE");
  for (const std::string& stop : o.stop) {
    if (stop.empty()) fail_usage("--reverse-prompt is empty, expected text to stop at");
  }
}

int cache_bits(const char* option, const std::optional<std::string>& type) {
  static const std::map<std::string_view, int> widths = {{"f16", 16}, {"q8_0", 8}, {"q4_0", 4}};
  const auto found = widths.find(type ? std::string_view(*type) : "f16");
  if (found == widths.end()) fail_usage("{} is {}, expected f16, q8_0 or q4_0", option, *type);
  return found->second;
}

void resolve_cache(RunOptions& o) {
  o.session.kv_scales = scale_rule(o.kv_scales_flag);
  o.session.record = o.show_bits || !o.trace.empty();
  if (o.session.record && o.session.context_shift)
    fail_usage("--show-bits and --trace need the whole text to be kept: not with --context-shift");
  if (o.cache_type_k_flag || o.cache_type_v_flag) {
    if (o.kv_flag) fail_usage("found both --kv and --cache-type-k or -v, expected one kind");
    o.session.kv = fmt::format("k{}v{}", cache_bits("--cache-type-k", o.cache_type_k_flag),
                               cache_bits("--cache-type-v", o.cache_type_v_flag));
  } else if (o.kv_flag) {
    o.session.kv = canonical_policies({*o.kv_flag}, o.plan)[0];
  } else {
    o.session.kv = o.plan.bits ? policy::canonical("learned", o.plan.bits) : "";
  }
}

using Commands = std::vector<const CLI::App*>;

bool has_option(const Commands& commands, const std::string& name) {
  return !commands.empty() && commands[0]->get_option_no_throw(name) != nullptr;
}

// Whether `argument` is an option whose value is the next argument.
bool takes_next(const Commands& commands, const std::string& argument) {
  if (!argument.starts_with('-') || !has_option(commands, argument)) return false;
  return commands[0]->get_option_no_throw(argument)->get_items_expected_max() > 0;
}

}  // namespace

void add_run_options(CLI::App& command, RunOptions& options) {
  command.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  add_text_options(command, options);
  add_sampling_options(command, options);
  add_engine_options(command, options);
  add_cache_options(command, options);
  add_prompt_cache_options(command, options);
  add_report_options(command, options);
}

void resolve(RunOptions& options) {
  resolve_prompt(options);
  resolve_cache(options);
  resolve_prompt_cache(options);
  options.sampling.seed = options.seed_flag >= 0 ? static_cast<std::uint64_t>(options.seed_flag)
                                                 : std::uint64_t{std::random_device()()};
  if (options.threads == 0) options.threads = physical_cores();
  if (options.model.empty()) options.model = default_model_path();
}

std::vector<std::string> expand_short_names(const CLI::App& app, int argc, const char* const* argv) {
  static const std::map<std::string_view, const char*> long_names = {{"-sys", "--system-prompt"},
                                                                     {"-ctk", "--cache-type-k"},
                                                                     {"-ctv", "--cache-type-v"},
                                                                     {"-cnv", "--conversation"}};
  std::vector<std::string> arguments(argv + 1, argv + argc);
  const auto commands = app.get_subcommands(
      [&](const CLI::App* command) { return !arguments.empty() && command->get_name() == arguments[0]; });
  bool is_value = false;
  for (std::string& argument : arguments) {
    const auto found = long_names.find(argument);
    if (!is_value && found != long_names.end() && has_option(commands, found->second))
      argument = found->second;
    is_value = !is_value && takes_next(commands, argument);
  }
  return arguments;
}

}  // namespace miser::cli
