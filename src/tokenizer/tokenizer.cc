#include "tokenizer/tokenizer.h"

#include <cassert>
#include <utility>

#include "tokenizer/encoder.h"
#include "tokenizer/special_tokens.h"
#include "tokenizer/vocabulary.h"

namespace miser {
namespace {

std::unique_ptr<const Encoder> make_encoder(const gguf::File& file, const Vocabulary& vocabulary) {
  return vocabulary.model == TokenizerModel::kBytePair ? make_byte_pair_encoder(file, vocabulary)
                                                       : make_sentence_piece_encoder(file, vocabulary);
}

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(const gguf::File& file)
      : vocabulary(file), special_tokens(vocabulary), encoder(make_encoder(file, vocabulary)) {
    pieces.reserve(static_cast<std::size_t>(vocabulary.size()));
    for (Token token = 0; token < vocabulary.size(); ++token) pieces.push_back(vocabulary.spell(token));
  }

  std::string_view piece(Token token, bool special) const {
    assert(token >= 0 && token < vocabulary.size());
    if (!special && vocabulary.is_special(token)) return {};
    return pieces[static_cast<std::size_t>(token)];
  }

  Vocabulary vocabulary;
  SpecialTokens special_tokens;
  std::unique_ptr<const Encoder> encoder;
  std::vector<std::string> pieces;
};

Tokenizer::Tokenizer(const gguf::File& file) : impl_(std::make_unique<const Impl>(file)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;

std::vector<Token> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  const Vocabulary& vocabulary = impl_->vocabulary;
  std::vector<Token> tokens;
  if (options.add_special && vocabulary.add_bos) tokens.push_back(*vocabulary.bos);
  bool begins_text = true;  // at the start and after a special token, where SentencePiece adds a space
  for (const Fragment& fragment : impl_->special_tokens.cut(text, options.parse_special)) {
    if (fragment.token) {
      tokens.push_back(*fragment.token);
    } else if (vocabulary.add_space_prefix && begins_text) {
      impl_->encoder->encode(' ' + std::string(fragment.text), tokens);
    } else {
      impl_->encoder->encode(fragment.text, tokens);
    }
    begins_text = fragment.token.has_value();
  }
  if (options.add_special && vocabulary.add_eos) tokens.push_back(*vocabulary.eos);
  return tokens;
}

std::string Tokenizer::decode(const std::vector<Token>& tokens, bool special) const {
  const Vocabulary& vocabulary = impl_->vocabulary;
  std::string text;
  bool drops_space = vocabulary.add_space_prefix;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    std::string_view piece = impl_->piece(tokens[i], special);
    const bool is_leading_bos = i == 0 && tokens[i] == vocabulary.bos;
    if (drops_space && !is_leading_bos) {
      if (piece.starts_with(' ')) piece.remove_prefix(1);
      drops_space = false;
    }
    text += piece;
  }
  return text;
}

std::string Tokenizer::piece(Token token, bool special) const {
  return std::string(impl_->piece(token, special));
}

std::int32_t Tokenizer::size() const {
  return impl_->vocabulary.size();
}
std::optional<Token> Tokenizer::bos() const {
  return impl_->vocabulary.bos;
}
std::optional<Token> Tokenizer::eos() const {
  return impl_->vocabulary.eos;
}
bool Tokenizer::adds_bos() const {
  return impl_->vocabulary.add_bos;
}
bool Tokenizer::is_end_of_generation(Token token) const {
  return impl_->vocabulary.is_end_of_generation(token);
}
std::optional<Token> Tokenizer::find(std::string_view text) const {
  return impl_->vocabulary.find(text);
}

}  // namespace miser
