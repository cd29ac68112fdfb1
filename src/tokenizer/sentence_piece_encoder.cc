#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <optional>

#include "tokenizer/byte_text.h"
#include "tokenizer/encoder.h"
#include "tokenizer/merges.h"

namespace miser {
namespace {

constexpr std::string_view kScoresKey = "tokenizer.ggml.scores";

/// For each token its place in the order of falling scores; equal scores share one.
std::vector<std::int32_t> ranks_by_score(const gguf::File& file, const Vocabulary& vocabulary) {
  const auto scores = file.find_floats(kScoresKey);
  const auto n = static_cast<std::size_t>(vocabulary.size());
  if (!scores) file.fail(fmt::format("{}: missing, expected {} elements", kScoresKey, n));
  if (scores->size() != n)
    file.fail(fmt::format("{}: found {} elements, expected one for each of {} tokens", kScoresKey,
                          scores->size(), n));
  const auto nan =
      std::find_if(scores->begin(), scores->end(), [](float score) { return std::isnan(score); });
  if (nan != scores->end())
    file.fail(fmt::format("{}[{}]: found nan, expected a number", kScoresKey, nan - scores->begin()));
  std::vector<float> falling = *scores;
  std::sort(falling.begin(), falling.end(), std::greater<>());
  std::vector<std::int32_t> ranks(n);
  for (std::size_t i = 0; i < n; ++i) {
    const auto place = std::lower_bound(falling.begin(), falling.end(), (*scores)[i], std::greater<>());
    ranks[i] = static_cast<std::int32_t>(place - falling.begin());
  }
  return ranks;
}

/// The symbols that merges start from and lead to: tokens, and from size() up the characters that are no
/// token but a part of one.
class Symbols {
 public:
  explicit Symbols(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  /// For the listing of merges: a lone character without a token gets a number.
  std::optional<Token> intern(std::string_view text) {
    if (const auto known = find(text)) return known;
    if (text.empty() || first_character(text) != text.size()) return std::nullopt;
    const auto next = static_cast<Token>(vocabulary_.size() + static_cast<Token>(characters_.size()));
    characters_.emplace_back(text);
    numbers_.emplace(text, next);
    return next;
  }
  std::optional<Token> find(std::string_view text) const {
    if (const auto token = vocabulary_.find(text)) return token;
    const auto found = numbers_.find(std::string(text));
    return found == numbers_.end() ? std::nullopt : std::optional(found->second);
  }
  /// REQUIRES: `symbol` is no token.
  const std::string& character(Token symbol) const {
    return characters_[static_cast<std::size_t>(symbol - vocabulary_.size())];
  }

 private:
  const Vocabulary& vocabulary_;
  std::vector<std::string> characters_;
  std::unordered_map<std::string, Token> numbers_;
};

class SentencePieceEncoder final : public Encoder {
 public:
  SentencePieceEncoder(const gguf::File& file, const Vocabulary& vocabulary)
      : vocabulary_(vocabulary), symbols_(vocabulary) {
    const std::vector<std::int32_t> ranks = ranks_by_score(file, vocabulary);
    for (Token token = 0; token < vocabulary.size(); ++token) {
      add_merges(token, ranks[static_cast<std::size_t>(token)]);
    }
    for (std::size_t byte = 0; byte < byte_tokens_.size(); ++byte) {
      const auto token = vocabulary.find(fmt::format("<0x{:02X}>", byte));
      byte_tokens_[byte] = token ? token : vocabulary.unknown;
    }
  }

  void encode(std::string_view text, std::vector<Token>& out) const override {
    const std::string escaped = escape_spaces(text);
    WordCache cache([this](std::string_view word, std::vector<Token>& tokens) { encode_word(word, tokens); });
    std::string_view rest = escaped;
    while (!rest.empty()) {
      const std::string_view word = rest.substr(0, word_length(rest));
      cache.append(word, out);
      rest.remove_prefix(word.size());
    }
  }

 private:
  // Lists all pairs of symbols that make the token.
  void add_merges(Token token, std::int32_t rank) {
    const std::string_view text = vocabulary_.text(token);
    // Texts shared by two tokens belong to the last.
    if (vocabulary_.find(text) != token) return;
    bool after_mark = true;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = first_character(text.substr(at));
      const bool is_mark = text.substr(at, length) == kSpaceMark;
      if (is_mark && !after_mark) words_end_at_marks_ = false;
      after_mark = is_mark;
      at += length;
      if (at == text.size()) return;
      const auto left = symbols_.intern(text.substr(0, at));
      const auto right = left ? symbols_.intern(text.substr(at)) : std::nullopt;
      if (right) merges_.add(*left, *right, rank, token);
    }
  }

  static std::string escape_spaces(std::string_view text) {
    std::string out;
    out.reserve(text.size() + text.size() / 2);
    for (const char c : text) {
      if (c == ' ') {
        out += kSpaceMark;
      } else {
        out += c;
      }
    }
    return out;
  }

  // Bytes of the first word, which no merge can leave: up to the first mark after another character where no
  // token has those two side by side, otherwise all of the text.
  std::size_t word_length(std::string_view text) const {
    if (!words_end_at_marks_) return text.size();
    bool after_mark = true;
    std::size_t at = 0;
    while (at < text.size()) {
      const std::size_t length = first_character(text.substr(at));
      const bool is_mark = text.substr(at, length) == kSpaceMark;
      if (is_mark && !after_mark) break;
      after_mark = is_mark;
      at += length;
    }
    return at;
  }

  void encode_word(std::string_view word, std::vector<Token>& out) const {
    std::vector<Token> symbols;
    for (std::size_t at = 0; at < word.size();) {
      const std::string_view character = word.substr(at, first_character(word.substr(at)));
      if (const auto symbol = symbols_.find(character)) {
        symbols.push_back(*symbol);
      } else {
        for (const char byte : character) symbols.push_back(lone_byte(byte));
      }
      at += character.size();
    }
    merges_.apply(symbols);
    for (const Token symbol : symbols) append(symbol, out);
  }

  void append(Token symbol, std::vector<Token>& out) const {
    if (symbol >= vocabulary_.size()) {
      for (const char byte : symbols_.character(symbol)) append(lone_byte(byte), out);
    } else if (symbol >= 0) {
      out.push_back(symbol);
    } else if (const auto token = byte_tokens_[static_cast<std::size_t>(-1 - symbol)]) {
      out.push_back(*token);
    }
  }

  // A byte of a character that is in no token, as a symbol that merges with nothing.
  static Token lone_byte(char byte) { return -1 - static_cast<std::uint8_t>(byte); }

  const Vocabulary& vocabulary_;
  Symbols symbols_;
  MergeTable merges_;
  std::array<std::optional<Token>, 256> byte_tokens_;  ///< the unknown token where there is none for a byte
  bool words_end_at_marks_ = true;                     ///< no token has a mark after another character
};

}  // namespace

std::unique_ptr<const Encoder> make_sentence_piece_encoder(const gguf::File& file,
                                                           const Vocabulary& vocabulary) {
  return std::make_unique<SentencePieceEncoder>(file, vocabulary);
}

}  // namespace miser
