#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <utility>

#include "gguf/printable.h"
#include "tokenizer/byte_text.h"
#include "tokenizer/encoder.h"
#include "tokenizer/merges.h"
#include "tokenizer/pre_tokenizer.h"

namespace miser {
namespace {

constexpr std::string_view kMergesKey = "tokenizer.ggml.merges";

PreTokenizer find_pre_tokenizer(const gguf::File& file, const Vocabulary& vocabulary) {
  auto found = PreTokenizer::named(vocabulary.pre_tokenizer);
  if (!found)
    file.fail(fmt::format("tokenizer.ggml.pre: found \"{}\", expected one of {}",
                          gguf::printable(vocabulary.pre_tokenizer), PreTokenizer::names()));
  return std::move(*found);
}

/// Merges from lines "left right"; the line's number is the rank.
MergeTable read_merges(const gguf::File& file, const Vocabulary& vocabulary) {
  const auto* lines = file.find_strings(kMergesKey);
  if (lines == nullptr) file.fail(fmt::format("{}: missing", kMergesKey));
  if (lines->size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
    file.fail(fmt::format("{}: found {} merges, expected 31-bit ranks", kMergesKey, lines->size()));
  MergeTable merges;
  for (std::size_t i = 0; i < lines->size(); ++i) {
    const std::string_view line = (*lines)[i];
    const std::size_t space = line.find(' ', 1);
    if (space == std::string_view::npos)
      file.fail(fmt::format("{}[{}]: found \"{}\", expected two tokens and a space between them", kMergesKey,
                            i, gguf::printable(line)));
    auto id = [&](const std::string& text) {
      const auto token = vocabulary.find(text);
      if (!token)
        file.fail(fmt::format("{}[{}]: found \"{}\", expected a token of tokenizer.ggml.tokens", kMergesKey,
                              i, gguf::printable(text)));
      return *token;
    };
    const std::string left(line.substr(0, space));
    const std::string right(line.substr(space + 1));
    const Token left_id = id(left);
    const Token right_id = id(right);
    merges.add(left_id, right_id, static_cast<std::int32_t>(i), id(left + right));
  }
  return merges;
}

class BytePairEncoder final : public Encoder {
 public:
  BytePairEncoder(const gguf::File& file, const Vocabulary& vocabulary)
      : vocabulary_(vocabulary),
        pre_tokenizer_(find_pre_tokenizer(file, vocabulary)),
        merges_(read_merges(file, vocabulary)) {
    for (int byte = 0; byte < 256; ++byte) {
      const auto value = static_cast<std::uint8_t>(byte);
      byte_tokens_[value] = vocabulary.find(byte_to_text(value)).value_or(kNone);
    }
    // Llama 3's vocabulary has words that its merges do not reach.
    whole_words_ = vocabulary.pre_tokenizer.starts_with("llama");
  }

  void encode(std::string_view text, std::vector<Token>& out) const override {
    WordCache cache([this](std::string_view word, std::vector<Token>& tokens) { encode_word(word, tokens); });
    pre_tokenizer_.split(text, [&](std::string_view word) { cache.append(word, out); });
  }

 private:
  static constexpr Token kNone = -1;

  void encode_word(std::string_view word, std::vector<Token>& out) const {
    if (whole_words_) {
      std::string text;
      for (const char byte : word) text += byte_to_text(static_cast<std::uint8_t>(byte));
      if (const auto token = vocabulary_.find(text)) return out.push_back(*token);
    }
    std::vector<Token> symbols;
    symbols.reserve(word.size());
    for (const char byte : word) symbols.push_back(byte_tokens_[static_cast<std::uint8_t>(byte)]);
    merges_.apply(symbols);
    // A byte that the vocabulary does not know is dropped, as in llama.cpp.
    std::copy_if(symbols.begin(), symbols.end(), std::back_inserter(out),
                 [](Token token) { return token != kNone; });
  }

  const Vocabulary& vocabulary_;
  PreTokenizer pre_tokenizer_;
  MergeTable merges_;
  std::array<Token, 256> byte_tokens_{};
  bool whole_words_;
};

}  // namespace

std::unique_ptr<const Encoder> make_byte_pair_encoder(const gguf::File& file, const Vocabulary& vocabulary) {
  return std::make_unique<BytePairEncoder>(file, vocabulary);
}

}  // namespace miser
