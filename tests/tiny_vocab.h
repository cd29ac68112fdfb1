#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "gguf_builder.h"
#include "tokenizer/byte_text.h"

namespace miser::test {

/// Metadata of a vocabulary, to be changed before it is built into a GGUF file.
struct TinyVocab {
  std::string model;
  std::string pre;
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  std::vector<float> scores;
  std::vector<std::string> merges;

  std::int32_t add(const std::string& text, std::int32_t type = 1, float score = 0) {
    tokens.push_back(text);
    types.push_back(type);
    scores.push_back(score);
    return static_cast<std::int32_t>(tokens.size()) - 1;
  }
  GgufBuilder builder() const {
    GgufBuilder out;
    out.set("tokenizer.ggml.model", model).set_array("tokenizer.ggml.tokens", tokens);
    out.set_array("tokenizer.ggml.token_type", types);
    if (!pre.empty()) out.set("tokenizer.ggml.pre", pre).set_array("tokenizer.ggml.merges", merges);
    if (pre.empty()) out.set_array("tokenizer.ggml.scores", scores);
    return out;
  }
};

/// Ids 0 to 255 are the bytes, 256 "ab", 257 "abc", 258 "Ġa", 259 "<|im_end|>" (control), 260 "<user>"
/// (user-defined), 261 "Ġabc" that no merge makes.
inline TinyVocab tiny_bpe(const std::string& pre = "gpt-2") {
  TinyVocab vocab{"gpt2", pre, {}, {}, {}, {"a b", "ab c", "\u0120 a"}};
  for (int byte = 0; byte < 256; ++byte) vocab.add(byte_to_text(static_cast<std::uint8_t>(byte)));
  for (const char* text : {"ab", "abc", "\u0120a"}) vocab.add(text);
  vocab.add("<|im_end|>", 3);
  vocab.add("<user>", 4);
  vocab.add("\u0120abc");
  return vocab;
}

/// 0 "<unk>", 1 "<s>", 2 "</s>", 3 to 258 the bytes, 259 "▁", 260 "a", 261 "b", 262 "▁a" (-3), 263 "ab" (-1),
/// 264 "▁ab" (-2), 265 "ü", 266 "bé" whose é is no token (-1), 267 "<user>" (user-defined).
inline TinyVocab tiny_spm() {
  TinyVocab vocab{"llama", "", {}, {}, {}, {}};
  vocab.add("<unk>", 2);
  vocab.add("<s>", 3);
  vocab.add("</s>", 3);
  constexpr char kHex[] = "0123456789ABCDEF";
  for (std::size_t byte = 0; byte < 256; ++byte) {
    vocab.add(std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">", 6);
  }
  vocab.add("\u2581", 1, -10);
  vocab.add("a", 1, -11);
  vocab.add("b", 1, -12);
  vocab.add("\u2581a", 1, -3);
  vocab.add("ab", 1, -1);
  vocab.add("\u2581ab", 1, -2);
  vocab.add("\u00fc", 1, -13);
  vocab.add("b\u00e9", 1, -1);
  vocab.add("<user>", 4);
  return vocab;
}

}  // namespace miser::test
