#include "cli/shared_options.h"

#include <fmt/format.h>

#include <charconv>
#include <system_error>

#include "base/error.h"

namespace miser::cli {

CLI::Validator whole(std::int64_t low, std::int64_t high) {
  const auto check = [low, high](const std::string& text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool number = error == std::errc() && end == text.data() + text.size();
    if (number && value >= low && value <= high) return std::string();
    return fmt::format("found '{}', expected a whole number from {} to {}", text, low, high);
  };
  return CLI::Validator(check, "");
}

void add_packing_options(CLI::App& command, SessionOptions& session, std::string& scales_flag,
                         std::string& centres) {
  command.add_option("--kv-window", session.kv_window, "Newest tokens that stay exact")
      ->check(whole(0, kMaxCount))
      ->type_name("N")
      ->capture_default_str();
  command.add_option("--kv-block", session.kv_block, "Tokens leave the window in blocks of this size")
      ->check(whole(1, kMaxCount))
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--kv-scales", scales_flag, "Scales that keep the mean (unbiased) or least squares (ls)")
      ->check(CLI::IsMember({"unbiased", "ls"}))
      ->type_name("RULE")
      ->capture_default_str();
  command
      .add_option("--kv-centres", centres,
                  "GGUF with tensors centre.k and centre.v to subtract before packing")
      ->type_name("FILE");
}

kv::ScaleRule scale_rule(const std::string& scales_flag) {
  return scales_flag == "ls" ? kv::ScaleRule::kLeastSquares : kv::ScaleRule::kUnbiased;
}

void check_vocabulary(const Model& model, const Tokenizer& tokenizer) {
  const auto n_tokens = static_cast<std::size_t>(tokenizer.size());
  if (model.config().n_vocab >= n_tokens) return;
  fail("{}: the tokenizer has {} tokens, the model has logits of {} only", model.file().name(), n_tokens,
       model.config().n_vocab);
}

}  // namespace miser::cli
