#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eval/logits.h"
#include "tokenizer/tokenizer.h"

namespace miser::eval {

/// The documents of an evaluation: token sequences of one length.
struct Contexts {
  std::size_t length = 0;
  std::size_t available = 0;         ///< contexts of the text before `limit`
  std::vector<std::size_t> source;   ///< which of those each context is
  std::vector<std::int32_t> tokens;  ///< [size(), length]

  std::size_t size() const { return source.size(); }
  std::span<const std::int32_t> at(std::size_t i) const {
    return std::span(tokens).subspan(i * length, length);
  }
};

/// Bytes of a text file, gzipped or not. Throws Error naming the file when it is empty, cannot be read or is
/// not UTF-8 (with the line).
std::string read_text(const std::string& path);

/// Tokenises each text whole and cuts it into consecutive contexts of `length`; what remains at its end is
/// left out. With a tokenizer that adds BOS, each context's first token becomes BOS, as in llama-perplexity.
/// `limit` contexts, 0 for all, are spread evenly over all texts. Throws Error for a text of less than one
/// context.
Contexts read_contexts(const std::vector<std::string>& paths, const Tokenizer& tokenizer, std::size_t length,
                       std::size_t limit);

/// The contexts of a file of reference logits, with the same rules of BOS and limit.
Contexts read_contexts(const LogitsFile& file, const Tokenizer& tokenizer, std::size_t limit);

}  // namespace miser::eval
