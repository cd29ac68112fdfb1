#include <fmt/format.h>

#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/utf8.h"
#include "cli/commands.h"
#include "cli/default_model.h"
#include "cli/run_output.h"
#include "tokenizer/tokenizer.h"

namespace miser::cli {
namespace {

struct TokenizeOptions {
  std::string model;
  std::optional<std::string> prompt;
  std::string file;
  bool standard_input = false;
  bool ids = false;
  bool no_bos = false;
  bool no_parse_special = false;
  bool json = false;
};

std::string read_text(const TokenizeOptions& options) {
  if (options.prompt) return *options.prompt;
  if (options.standard_input) return {std::istreambuf_iterator<char>(std::cin), {}};
  const MappedFile file(options.file);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

std::string as_json(const Tokenizer& tokenizer, const std::vector<Token>& tokens) {
  auto list = nlohmann::ordered_json::array();
  for (const Token token : tokens) {
    list.push_back({{"id", token}, {"piece", replace_invalid_utf8(tokenizer.piece(token, true))}});
  }
  const nlohmann::ordered_json all = {{"tokens", std::move(list)}};
  return all.dump() + "\n";
}

// A line a token, as llama-tokenize prints it: bytes of the piece as they are.
std::string as_lines(const Tokenizer& tokenizer, const std::vector<Token>& tokens) {
  std::string out;
  for (const Token token : tokens) out += fmt::format("{:6} -> '{}'\n", token, tokenizer.piece(token, true));
  return out;
}

void tokenize(const TokenizeOptions& options) {
  require_standard_output();
  const std::string text = read_text(options);
  const Tokenizer tokenizer(gguf::File::open(options.model.empty() ? default_model_path() : options.model));
  const std::vector<Token> tokens =
      tokenizer.encode(text, {.add_special = !options.no_bos, .parse_special = !options.no_parse_special});
  if (options.json) return write_output(as_json(tokenizer, tokens));
  if (options.ids) return write_output(fmt::format("[{}]\n", fmt::join(tokens, ", ")));
  write_output(as_lines(tokenizer, tokens));
}

}  // namespace

void add_tokenize(CLI::App& app) {
  CLI::App* const command = app.add_subcommand("tokenize", "Turn text into token ids");
  const auto options = std::make_shared<TokenizeOptions>();
  command->add_option("-m,--model", options->model, "GGUF file (default: the model of ./dev model)");
  auto* const source = command->add_option_group("text", "Exactly one of these");
  source->add_option("-p,--prompt", options->prompt, "The text itself");
  source->add_option("-f,--file", options->file, "File with the text");
  source->add_flag("--stdin", options->standard_input, "Read the text from standard input");
  source->require_option(1);
  command->add_flag("--ids", options->ids, "Print the ids alone: [1, 2, 3]");
  command->add_flag("--no-bos", options->no_bos, "Add no BOS (and no EOS) token");
  command->add_flag("--no-parse-special", options->no_parse_special,
                    "Read the names of control tokens as plain text");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options] { tokenize(*options); });
}

}  // namespace miser::cli
