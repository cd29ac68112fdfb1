#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"

namespace miser {

using Token = std::int32_t;

struct EncodeOptions {
  bool add_special = true;    ///< add BOS and EOS where the model asks for them
  bool parse_special = true;  ///< turn the text of control tokens ("<|im_start|>") into their ids
};

/// Text to token ids and back, from a GGUF's `tokenizer.ggml.*` metadata: byte-level BPE (`gpt2`) and
/// SentencePiece unigram-by-score merges (`llama`). Immutable after construction; safe to share by threads.
class Tokenizer {
 public:
  /// Throws Error naming the file and key when the vocabulary is missing, malformed or of an unknown kind.
  explicit Tokenizer(const gguf::File& file);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;

  /// Any bytes are accepted; invalid UTF-8 is encoded byte by byte.
  std::vector<Token> encode(std::string_view text, EncodeOptions options = {}) const;
  /// Concatenated pieces without the space that encode() put before the first word. With `special`, control
  /// tokens are written as their text, otherwise left out.
  std::string decode(const std::vector<Token>& tokens, bool special = false) const;
  /// Bytes of one token, perhaps a part of a UTF-8 character. REQUIRES: 0 <= token < size().
  std::string piece(Token token, bool special = false) const;

  std::int32_t size() const;
  std::optional<Token> bos() const;
  std::optional<Token> eos() const;
  bool adds_bos() const;
  /// Whether generation ends at this token: EOS, EOT and the well-known end-of-turn tokens.
  bool is_end_of_generation(Token token) const;
  /// The token whose text is exactly `text`.
  std::optional<Token> find(std::string_view text) const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

}  // namespace miser
