// Encodes and decodes any bytes with tiny vocabularies of both kinds, and builds vocabularies from any lines.
// A crash, a hang, a sanitizer report, another exception than Error, or bytes that do not come back is a
// defect.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>

#include "base/error.h"
#include "tiny_vocab.h"
#include "tokenizer/tokenizer.h"

namespace miser {
namespace {

Tokenizer make(const test::GgufBuilder& builder) {
  const auto bytes = builder.bytes();
  return Tokenizer(gguf::File::parse(bytes, "fuzz.gguf"));
}

void check_round_trip(const Tokenizer& tokenizer, std::string_view text) {
  const auto tokens = tokenizer.encode(text, {.add_special = false, .parse_special = false});
  for (const Token token : tokens) {
    if (token < 0 || token >= tokenizer.size()) std::abort();
  }
  tokenizer.encode(text);
  // U+2581 reads back as a space, and SentencePiece adds a space after a user-defined token.
  const bool ambiguous = text.find("\u2581") != text.npos || text.find("<user>") != text.npos;
  if (!ambiguous && tokenizer.decode(tokens) != text) std::abort();
}

/// Lines are tokens, and merges too where they have a space; a line's first byte gives type and score.
void build(test::TinyVocab vocab, std::string_view text) {
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.empty()) continue;
    const auto first = static_cast<unsigned char>(line[0]);
    vocab.add(std::string(line.substr(1)), first % 7, static_cast<float>(first / 7) - 20);
    if (line.find(' ', 2) != line.npos) vocab.merges.emplace_back(line.substr(1));
  }
  try {
    const Tokenizer tokenizer = make(vocab.builder());
    for (Token token = 0; token < tokenizer.size(); ++token) tokenizer.piece(token, true);
    tokenizer.decode(tokenizer.encode(text));
  } catch (const Error&) {
  }
}

void run(std::uint8_t mode, std::string_view text) {
  static const Tokenizer tokenizers[] = {
      make(test::tiny_bpe("smollm").builder()), make(test::tiny_bpe("llama-bpe").builder()),
      make(test::tiny_bpe("deepseek-llm").builder()), make(test::tiny_bpe("default").builder()),
      make(test::tiny_spm().builder())};
  constexpr std::size_t kModes = std::size(tokenizers) + 2;
  const std::size_t i = mode % kModes;
  if (i < std::size(tokenizers)) return check_round_trip(tokenizers[i], text);
  build(i == kModes - 1 ? test::tiny_spm() : test::tiny_bpe(), text);
}

}  // namespace
}  // namespace miser

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer names it
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 0) miser::run(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
