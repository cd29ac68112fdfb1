#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gguf/file.h"
#include "tokenizer/tokenizer.h"

namespace miser {

/// `tokenizer.ggml.token_type`.
enum class TokenType : std::uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

/// What SentencePiece writes for a space.
inline constexpr std::string_view kSpaceMark = "\u2581";

/// `tokenizer.ggml.model`.
enum class TokenizerModel : std::uint8_t {
  kBytePair,       ///< "gpt2"
  kSentencePiece,  ///< "llama"
};

/// What a GGUF file says about its tokens, checked: every id is a token, every array has one element a token.
/// Missing keys get llama.cpp's defaults. Throws Error that names the file and the key.
class Vocabulary {
 public:
  explicit Vocabulary(const gguf::File& file);
  Vocabulary(const Vocabulary&) = delete;  ///< `ids_` views `texts_`
  Vocabulary& operator=(const Vocabulary&) = delete;

  Token size() const { return static_cast<Token>(texts_.size()); }
  const std::string& text(Token token) const { return texts_[static_cast<std::size_t>(token)]; }
  TokenType type(Token token) const { return types_[static_cast<std::size_t>(token)]; }
  /// The token of exactly this text; the last one where several share it, as in llama.cpp.
  std::optional<Token> find(std::string_view text) const;
  bool is_end_of_generation(Token token) const { return ends_generation_[static_cast<std::size_t>(token)]; }
  /// Control and unknown tokens: no text of their own, only a name.
  bool is_special(Token token) const;
  /// What the token reads as; special tokens as their name.
  std::string spell(Token token) const;

  TokenizerModel model = TokenizerModel::kBytePair;
  std::string pre_tokenizer;  ///< `tokenizer.ggml.pre`; "default" when missing
  std::optional<Token> bos, eos, unknown;
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = false;

 private:
  void read_model(const gguf::File& file);
  void read_tokens(const gguf::File& file);
  void read_types(const gguf::File& file);
  void read_special_ids(const gguf::File& file);
  void mark_ends(const gguf::File& file);

  std::vector<std::string> texts_;
  std::vector<TokenType> types_;
  std::vector<bool> ends_generation_;
  std::unordered_map<std::string_view, Token> ids_;
};

}  // namespace miser
