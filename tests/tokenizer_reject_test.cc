#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "tiny_vocab.h"
#include "tokenizer/tokenizer.h"

namespace miser {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string error_of(const test::GgufBuilder& builder) {
  const auto bytes = builder.bytes();
  try {
    const Tokenizer tokenizer(gguf::File::parse(bytes, "vocab.gguf"));
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

struct Change {
  const char* error;
  std::function<void(test::TinyVocab&)> apply;
};

void expect_rejected(const test::TinyVocab& good, const std::vector<Change>& changes) {
  EXPECT_EQ(error_of(good.builder()), "accepted");
  for (const Change& change : changes) {
    test::TinyVocab vocab = good;
    change.apply(vocab);
    const std::string error = error_of(vocab.builder());
    EXPECT_THAT(error, StartsWith("vocab.gguf: "));
    EXPECT_THAT(error, HasSubstr(change.error));
  }
}

TEST(TokenizerRejectTest, MalformedBytePairVocabularies) {
  expect_rejected(
      test::tiny_bpe(),
      {{"tokenizer.ggml.model: found \"bert\", expected gpt2 or llama", [](auto& v) { v.model = "bert"; }},
       {"tokenizer.ggml.pre: found \"tekken\", expected one of default, gpt-2",
        [](auto& v) { v.pre = "tekken"; }},
       {"tokenizer.ggml.tokens: no tokens", [](auto& v) { v.tokens.clear(); }},
       {"tokenizer.ggml.tokens[262]: found 2000 bytes, expected at most 1024",
        [](auto& v) { v.add(std::string(2000, 'x')); }},
       {"tokenizer.ggml.token_type: found 261 elements, expected one for each of 262",
        [](auto& v) { v.types.pop_back(); }},
       {"tokenizer.ggml.token_type[5]: found 7, expected 0 to 6", [](auto& v) { v.types[5] = 7; }},
       {"tokenizer.ggml.token_type[5]: found -1, expected 0 to 6", [](auto& v) { v.types[5] = -1; }},
       {"tokenizer.ggml.tokens[256]: found \"ab\", expected a byte", [](auto& v) { v.types[256] = 6; }},
       {"tokenizer.ggml.merges[3]: found \"ab\", expected two tokens",
        [](auto& v) { v.merges.push_back("ab"); }},
       {"tokenizer.ggml.merges[3]: found \"zz\", expected a token",
        [](auto& v) { v.merges.push_back("zz a"); }},
       {"tokenizer.ggml.merges[3]: found \"ca\", expected a token",
        [](auto& v) { v.merges.push_back("c a"); }},
       {"tokenizer.ggml.merges[3]: found \"\", expected two tokens",
        [](auto& v) { v.merges.push_back(""); }}});
}

TEST(TokenizerRejectTest, MalformedSentencePieceVocabularies) {
  expect_rejected(test::tiny_spm(),
                  {{"tokenizer.ggml.scores: found 267 elements, expected one for each of 268",
                    [](auto& v) { v.scores.pop_back(); }},
                   {"tokenizer.ggml.scores[4]: found nan, expected a number",
                    [](auto& v) { v.scores[4] = std::nanf(""); }}});
}

TEST(TokenizerRejectTest, MissingKeys) {
  EXPECT_THAT(error_of(test::GgufBuilder()), HasSubstr("tokenizer.ggml.model: missing"));
  EXPECT_THAT(error_of(test::GgufBuilder().set("tokenizer.ggml.model", "gpt2")),
              HasSubstr("tokenizer.ggml.tokens: no tokens"));
  test::GgufBuilder one_token;
  one_token.set_array("tokenizer.ggml.tokens", std::vector<std::string>{"a"});
  EXPECT_THAT(error_of(test::GgufBuilder(one_token).set("tokenizer.ggml.model", "gpt2")),
              HasSubstr("tokenizer.ggml.merges: missing"));
  EXPECT_THAT(error_of(test::GgufBuilder(one_token).set("tokenizer.ggml.model", "llama")),
              HasSubstr("tokenizer.ggml.scores: missing"));
}

TEST(TokenizerRejectTest, IdsThatAreNoTokens) {
  for (const char* name : {"bos", "eos", "eot", "eom", "unknown"}) {
    const std::string key = std::string("tokenizer.ggml.") + name + "_token_id";
    EXPECT_THAT(error_of(test::tiny_bpe().builder().set(key, 262U)),
                HasSubstr(key + ": found 262, expected a token below 262"));
    EXPECT_EQ(error_of(test::tiny_bpe().builder().set(key, 261U)), "accepted");
  }
}

TEST(TokenizerRejectTest, BosThatIsAskedForAndMissing) {
  const auto builder = test::GgufBuilder()
                           .set("tokenizer.ggml.model", "gpt2")
                           .set_array("tokenizer.ggml.tokens", std::vector<std::string>{"a"})
                           .set_array("tokenizer.ggml.merges", std::vector<std::string>{})
                           .set("tokenizer.ggml.add_bos_token", true);
  EXPECT_THAT(error_of(builder), HasSubstr("tokenizer.ggml.add_bos_token: found true"));
}

}  // namespace
}  // namespace miser
