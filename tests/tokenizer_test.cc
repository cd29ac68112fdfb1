#include "tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "real_model.h"
#include "tiny_vocab.h"

namespace miser {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr EncodeOptions kPlain{.add_special = false, .parse_special = false};
constexpr EncodeOptions kNames{.add_special = false, .parse_special = true};

Tokenizer make(const test::GgufBuilder& builder) {
  const auto bytes = builder.bytes();
  return Tokenizer(gguf::File::parse(bytes, "vocab.gguf"));
}

std::string random_bytes(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes;
  for (std::size_t i = 0; i < size; ++i) bytes += static_cast<char>(random() & 0xFF);
  return bytes;
}

// tokens.json comes from llama.cpp.
TEST(TokenizerTest, MatchesReferenceIdsOfSmolLM2) {
  const Tokenizer tokenizer(gguf::File::open(test::smollm2_path()));
  std::ifstream file(MISER_SOURCE_DIR "/tests/data/smollm2_tokens.json");
  const auto cases = nlohmann::json::parse(file);
  EXPECT_GT(cases.size(), 40U);
  for (const auto& item : cases) {
    const std::string text = item.at("text");
    const std::vector<Token> ids = item.at("ids");
    EXPECT_EQ(tokenizer.encode(text, kPlain), ids) << text;
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
}

TEST(TokenizerTest, ReadsTheSpecialTokensOfSmolLM2) {
  const Tokenizer tokenizer(gguf::File::open(test::smollm2_path()));
  EXPECT_THAT(tokenizer.encode("<|im_start|>user\n"), ElementsAre(1, 4093, 198));
  EXPECT_FALSE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.eos(), 2);
  EXPECT_TRUE(tokenizer.is_end_of_generation(2));   // <|im_end|>
  EXPECT_TRUE(tokenizer.is_end_of_generation(0));   // <|endoftext|>
  EXPECT_FALSE(tokenizer.is_end_of_generation(1));  // <|im_start|>
  EXPECT_EQ(tokenizer.piece(1, true), "<|im_start|>");
  EXPECT_EQ(tokenizer.piece(1), "");
}

void match_reference(const std::string& name) {
  const std::string path = MISER_SOURCE_DIR "/../shared/reference/tokenizer/ggml-vocab-" + name + ".gguf";
  if (!std::filesystem::exists(path)) {
    std::printf("not run: there is no %s\n", path.c_str());
    return;
  }
  const Tokenizer tokenizer(gguf::File::open(path));
  std::ifstream input(path + ".inp", std::ios::binary);
  std::ifstream expected(path + ".out");
  std::string all{std::istreambuf_iterator<char>(input), {}};
  const std::string separator = "\n__ggml_vocab_test__\n";
  int n_cases = 0;
  for (std::string line; std::getline(expected, line); ++n_cases) {
    const std::string text = all.substr(0, all.find(separator));
    all.erase(0, text.size() + separator.size());
    std::istringstream numbers(line);
    const std::vector<Token> ids{std::istream_iterator<Token>(numbers), {}};
    EXPECT_EQ(tokenizer.encode(text, kPlain), ids) << text;
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
  EXPECT_GT(n_cases, 40);
}

TEST(TokenizerTest, MatchesReferenceIdsOfGpt2) {
  match_reference("gpt-2");
}
TEST(TokenizerTest, MatchesReferenceIdsOfLlamaSpm) {
  match_reference("llama-spm");
}

TEST(BytePairTest, MergesByRankThenFromTheLeft) {
  const Tokenizer tokenizer = make(test::tiny_bpe().builder());
  EXPECT_THAT(tokenizer.encode("abcab", kPlain), ElementsAre(257, 256));
  EXPECT_THAT(tokenizer.encode(" abc", kPlain), ElementsAre(' ', 257));  // "a b" goes before "Ġ a"
  EXPECT_THAT(tokenizer.encode(" ac", kPlain), ElementsAre(258, 'c'));
}

TEST(BytePairTest, TakesWholeWordsFirstOnlyForLlama3) {
  EXPECT_THAT(make(test::tiny_bpe("llama-bpe").builder()).encode(" abc", kPlain), ElementsAre(261));
}

TEST(BytePairTest, AnyBytesComeBack) {
  const Tokenizer tokenizer = make(test::tiny_bpe().builder());
  for (unsigned seed = 0; seed < 20; ++seed) {
    const std::string bytes = random_bytes(500, seed);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(bytes)), bytes) << "seed " << seed;
  }
  EXPECT_THAT(tokenizer.encode("ab\xFF"
                               "ab",
                               kPlain),
              ElementsAre(256, 0xFF, 256));
}

TEST(SentencePieceTest, MergesByScore) {
  const Tokenizer tokenizer = make(test::tiny_spm().builder());
  EXPECT_THAT(tokenizer.encode("ab", kPlain), ElementsAre(264));  // ▁ab by way of ab
  EXPECT_THAT(tokenizer.encode("aab", kPlain), ElementsAre(262, 263));
  EXPECT_THAT(tokenizer.encode("aa a", kPlain), ElementsAre(262, 260, 262));
}

TEST(SentencePieceTest, FallsBackToBytes) {
  const Tokenizer tokenizer = make(test::tiny_spm().builder());
  EXPECT_THAT(tokenizer.encode("\u00fc", kPlain), ElementsAre(259, 265));
  EXPECT_THAT(tokenizer.encode("\u00e9", kPlain), ElementsAre(259, 3 + 0xC3, 3 + 0xA9));
  EXPECT_THAT(tokenizer.encode("b\u00e9", kPlain), ElementsAre(259, 266));  // a character only inside a token
  EXPECT_THAT(tokenizer.encode("\xC3", kPlain), ElementsAre(259, 3 + 0xC3));
}

TEST(SentencePieceTest, AnyBytesComeBack) {
  const Tokenizer tokenizer = make(test::tiny_spm().builder());
  for (unsigned seed = 0; seed < 20; ++seed) {
    const std::string bytes = random_bytes(500, seed);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(bytes)), bytes) << "seed " << seed;
  }
}

TEST(SentencePieceTest, AddsBosAndSpaceUnlessTheFileSaysNo) {
  EXPECT_THAT(make(test::tiny_spm().builder()).encode("a"), ElementsAre(1, 262));
  const auto without = make(test::tiny_spm()
                                .builder()
                                .set("tokenizer.ggml.add_bos_token", false)
                                .set("tokenizer.ggml.add_eos_token", true)
                                .set("tokenizer.ggml.add_space_prefix", false));
  EXPECT_THAT(without.encode("a"), ElementsAre(260, 2));
  EXPECT_FALSE(without.adds_bos());
}

TEST(SentencePieceTest, SpaceIsAddedAfterSpecialTokensAndTakenFromTheFirstWordOnly) {
  const Tokenizer tokenizer = make(test::tiny_spm().builder());
  EXPECT_THAT(tokenizer.encode("a</s>a"), ElementsAre(1, 262, 2, 262));
  EXPECT_EQ(tokenizer.decode({1, 262, 2, 262}), "a a");
  EXPECT_EQ(tokenizer.decode({1, 262, 2, 262}, true), "<s>a</s> a");
  EXPECT_EQ(tokenizer.piece(262), " a");
}

// A vocabulary with a token that goes on over a space cannot be merged word by word.
TEST(SentencePieceTest, MergesAcrossSpacesWhereTokensDo) {
  test::TinyVocab vocab = test::tiny_spm();
  const Token a_space = vocab.add("a\u2581", 1, 0);
  EXPECT_THAT(make(vocab.builder()).encode("a a", kPlain), ElementsAre(259, a_space, 260));
}

TEST(SpecialTokensTest, NamesOfControlTokensAreTextUnlessParsed) {
  const Tokenizer tokenizer = make(test::tiny_bpe().builder());
  EXPECT_THAT(tokenizer.encode("ab<|im_end|>ab", kNames), ElementsAre(256, 259, 256));
  EXPECT_EQ(tokenizer.encode("<|im_end|>", kPlain).size(), 10U);
  EXPECT_THAT(tokenizer.encode("<user>ab<user>", kPlain), ElementsAre(260, 256, 260));
  EXPECT_EQ(tokenizer.decode({256, 259, 260}), "ab<user>");
}

TEST(SpecialTokensTest, LongestNameGoesFirst) {
  test::TinyVocab vocab = test::tiny_bpe();
  vocab.add("<user>b", 3);
  EXPECT_THAT(make(vocab.builder()).encode("<user>b", kNames), ElementsAre(262));
}

TEST(SpecialTokensTest, EndOfGenerationIsKnownByKeyOrByName) {
  const Tokenizer tokenizer = make(test::tiny_bpe()
                                       .builder()
                                       .set("tokenizer.ggml.eos_token_id", 7U)
                                       .set("tokenizer.ggml.eot_token_id", 8U)
                                       .set("tokenizer.ggml.eom_token_id", 9U));
  for (const Token end : {7, 8, 9, 259}) EXPECT_TRUE(tokenizer.is_end_of_generation(end)) << end;
  EXPECT_FALSE(tokenizer.is_end_of_generation(10));
  EXPECT_EQ(tokenizer.find("<|im_end|>"), 259);
  EXPECT_EQ(tokenizer.find("<|im_start|>"), std::nullopt);
}

TEST(TokenizerTest, EmptyTextHasNoTokensButBos) {
  EXPECT_THAT(make(test::tiny_bpe().builder()).encode(""), IsEmpty());
  EXPECT_THAT(make(test::tiny_spm().builder()).encode(""), ElementsAre(1));
}

// A quadratic case would take hours; the limit leaves room for sanitizers.
TEST(TokenizerTest, LongRunsTakeLinearTime) {
  const auto begin = std::chrono::steady_clock::now();
  for (const char* pre :
       {"default", "gpt-2", "smollm", "falcon", "qwen2", "deepseek-llm", "deepseek-coder"}) {
    test::TinyVocab vocab = test::tiny_bpe(pre);
    vocab.merges = {"a a", "aa aa", "\u0120 \u0120"};
    for (const char* text : {"aa", "aaaa", "\u0120\u0120"}) vocab.add(text);
    const Tokenizer tokenizer = make(vocab.builder());
    for (const std::string unit : {"a", " ", "\n", "\U0001F999", "\xFF"}) {
      std::string text;
      while (text.size() < 200'000) text += unit;
      text += "\u4e2d";
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << pre;
    }
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(100));
}

}  // namespace
}  // namespace miser
