#include "tokenizer/vocabulary.h"

#include <fmt/format.h>

#include <limits>

#include "gguf/printable.h"
#include "tokenizer/byte_text.h"

namespace miser {
namespace {

// A longer token is a mistake or an attack: every split of it is looked up when SPM merges are listed.
constexpr std::size_t kMaxTokenBytes = 1024;

// Tokens whose text alone says that an answer ends, as llama.cpp lists them.
constexpr std::string_view kEndTexts[] = {
    "<|eot_id|>",    "<|im_end|>",
    "<|end|>",       "<|return|>",
    "<|call|>",      "<|flush|>",
    "<|calls|>",     "<end_of_turn>",
    "<|endoftext|>", "<|end_of_text|>",
    "<|eom_id|>",    "<EOT>",
    "_<EOT>",        "[EOT]",
    "[EOS]",         "</s>",
    "<eos>",         "<end_of_utterance>",
    "<|fim_pad|>",   "<fim-pad>",
    "<fim_pad>",     "<PAD>",
    "[PAD]",         "<|fim_repo|>",
    "<|repo_name|>", "<fim-repo>",
    "<REPO>",        "<reponame>",
    "<|file_sep|>",  "<｜end▁of▁sentence｜>",
};

/// The id under `key`. Throws when it is no token.
std::optional<Token> find_id(const gguf::File& file, std::string_view key, Token n_tokens) {
  const auto id = file.find_uint(key);
  if (!id) return std::nullopt;
  if (*id >= static_cast<std::uint64_t>(n_tokens))
    file.fail(fmt::format("{}: found {}, expected a token below {}", key, *id, n_tokens));
  return static_cast<Token>(*id);
}

std::string unescape_spaces(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const bool space = text.starts_with(kSpaceMark);
    out += space ? ' ' : text[0];
    text.remove_prefix(space ? kSpaceMark.size() : 1);
  }
  return out;
}

}  // namespace

Vocabulary::Vocabulary(const gguf::File& file) {
  read_model(file);
  read_tokens(file);
  read_types(file);
  read_special_ids(file);
  mark_ends(file);
}

void Vocabulary::read_model(const gguf::File& file) {
  const std::string_view key = "tokenizer.ggml.model";
  const auto name = file.find_string(key);
  if (!name) file.fail(fmt::format("{}: missing, expected gpt2 or llama", key));
  if (*name != "gpt2" && *name != "llama")
    file.fail(fmt::format("{}: found \"{}\", expected gpt2 or llama", key, gguf::printable(*name)));
  if (*name == "llama") model = TokenizerModel::kSentencePiece;
  pre_tokenizer = file.find_string("tokenizer.ggml.pre").value_or("default");
}

void Vocabulary::read_tokens(const gguf::File& file) {
  const std::string_view key = "tokenizer.ggml.tokens";
  const auto* tokens = file.find_strings(key);
  if (tokens == nullptr || tokens->empty()) file.fail(fmt::format("{}: no tokens", key));
  if (tokens->size() > static_cast<std::size_t>(std::numeric_limits<Token>::max()))
    file.fail(fmt::format("{}: found {} tokens, expected 31-bit ids", key, tokens->size()));
  texts_.reserve(tokens->size());
  for (const std::string_view text : *tokens) {
    if (text.size() > kMaxTokenBytes)
      file.fail(fmt::format("{}[{}]: found {} bytes, expected at most {}", key, texts_.size(), text.size(),
                            kMaxTokenBytes));
    texts_.emplace_back(text);
  }
  ids_.reserve(texts_.size());
  for (Token token = 0; token < size(); ++token) ids_[text(token)] = token;
}

void Vocabulary::read_types(const gguf::File& file) {
  const std::string_view key = "tokenizer.ggml.token_type";
  types_.assign(texts_.size(), TokenType::kNormal);
  const auto types = file.find_ints(key);
  if (!types) return;
  if (types->size() != texts_.size())
    file.fail(fmt::format("{}: found {} elements, expected one for each of {} tokens", key, types->size(),
                          texts_.size()));
  for (std::size_t i = 0; i < types->size(); ++i) {
    const std::int64_t type = (*types)[i];
    if (type < 0 || type > static_cast<std::int64_t>(TokenType::kByte))
      file.fail(fmt::format("{}[{}]: found {}, expected 0 to 6", key, i, type));
    types_[i] = static_cast<TokenType>(type);
    if (types_[i] == TokenType::kByte && !parse_byte_token(texts_[i]))
      file.fail(fmt::format("tokenizer.ggml.tokens[{}]: found \"{}\", expected a byte like <0x0A>", i,
                            gguf::printable(texts_[i])));
  }
}

void Vocabulary::read_special_ids(const gguf::File& file) {
  const bool spm = model == TokenizerModel::kSentencePiece;
  auto id = [&](std::string_view key, Token fallback) {
    const auto found = find_id(file, key, size());
    return found || fallback < 0 || fallback >= size() ? found : std::optional(fallback);
  };
  bos = id("tokenizer.ggml.bos_token_id", spm ? 1 : 11);
  eos = id("tokenizer.ggml.eos_token_id", spm ? 2 : 11);
  unknown = id("tokenizer.ggml.unknown_token_id", spm ? 0 : -1);
  const bool llama3 =
      pre_tokenizer == "llama-bpe" || pre_tokenizer == "llama3" || pre_tokenizer == "llama-v3";
  auto adds = [&](const char* key, bool fallback, const std::optional<Token>& token) {
    const auto flag = file.find_bool(key);
    if (flag.value_or(false) && !token)
      file.fail(fmt::format("{}: found true, expected false: the vocabulary has no such token", key));
    return flag.value_or(fallback) && token.has_value();
  };
  add_bos = adds("tokenizer.ggml.add_bos_token", spm || llama3, bos);
  add_eos = adds("tokenizer.ggml.add_eos_token", false, eos);
  // llama.cpp reads the key for BPE too and then does not use it.
  add_space_prefix = file.find_bool("tokenizer.ggml.add_space_prefix").value_or(true) && spm;
}

void Vocabulary::mark_ends(const gguf::File& file) {
  ends_generation_.assign(texts_.size(), false);
  auto mark = [&](Token token) { ends_generation_[static_cast<std::size_t>(token)] = true; };
  for (const std::string_view end : kEndTexts) {
    if (const auto token = find(end)) {
      mark(*token);
      types_[static_cast<std::size_t>(*token)] = TokenType::kControl;  // some files call them normal
    }
  }
  if (eos) mark(*eos);
  for (const std::string_view key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    if (const auto token = find_id(file, key, size())) mark(*token);
  }
}

std::optional<Token> Vocabulary::find(std::string_view text) const {
  const auto found = ids_.find(text);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

bool Vocabulary::is_special(Token token) const {
  return type(token) == TokenType::kControl || type(token) == TokenType::kUnknown;
}

std::string Vocabulary::spell(Token token) const {
  switch (type(token)) {
    case TokenType::kUndefined:
    case TokenType::kUnused:
      return {};
    case TokenType::kUnknown:
    case TokenType::kControl:
    case TokenType::kUserDefined:
      return text(token);
    case TokenType::kByte:
      return {static_cast<char>(*parse_byte_token(text(token)))};
    case TokenType::kNormal:
      break;
  }
  return model == TokenizerModel::kBytePair ? text_to_bytes(text(token)) : unescape_spaces(text(token));
}

}  // namespace miser
