#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gguf/file.h"
#include "tokenizer/vocabulary.h"

namespace miser {

/// Appends the tokens of text without special tokens. Immutable; safe to share by threads.
class Encoder {
 public:
  virtual ~Encoder() = default;
  virtual void encode(std::string_view text, std::vector<Token>& out) const = 0;
};

// Both keep references to the vocabulary, which must outlive them, and throw Error that names file and key.

/// Byte-level byte-pair encoding, `tokenizer.ggml.merges` inside the words of `tokenizer.ggml.pre`.
std::unique_ptr<const Encoder> make_byte_pair_encoder(const gguf::File& file, const Vocabulary& vocabulary);
/// SentencePiece: characters merge to the token of the best `tokenizer.ggml.scores`; spaces are U+2581, and
/// characters without a token become the tokens of their bytes.
std::unique_ptr<const Encoder> make_sentence_piece_encoder(const gguf::File& file,
                                                           const Vocabulary& vocabulary);

/// The tokens of the words of one text: most words come again. `compute` appends the tokens of a word.
class WordCache {
 public:
  using Compute = std::function<void(std::string_view word, std::vector<Token>& out)>;
  explicit WordCache(Compute compute) : compute_(std::move(compute)) {}

  void append(std::string_view word, std::vector<Token>& out);

 private:
  struct Hash {
    using is_transparent = void;  // NOLINT(readability-identifier-naming): the standard library names it
    std::size_t operator()(std::string_view word) const { return std::hash<std::string_view>{}(word); }
  };

  Compute compute_;
  std::unordered_map<std::string, std::vector<Token>, Hash, std::equal_to<>> known_;
};

}  // namespace miser
