#include "tokenizer/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace miser {
namespace {

using Words = std::vector<std::string>;

Words split(std::string_view name, std::string_view text) {
  Words words;
  PreTokenizer::named(name)->split(text, [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

// Contractions in two cases, runs of spaces, digits, a grave accent, line ends, Chinese, an Arabic digit, an
// ideographic space, a trailing space.
constexpr const char* kSample = "I'll  pay WE'RE $1234`5\r\n\n  x\u4e2d\u65871\u0663\u3000\u00e9! ";

// The words are what the PyPI package `tokenizers` (Oniguruma) makes of the models' published expressions.
TEST(PreTokenizerTest, Gpt2) {
  const Words words = {"I", "'ll", " ",       " pay",           " WE",     "'",      "RE",     " $", "1234",
                       "`", "5",   "\r\n\n ", " x\u4e2d\u6587", "1\u0663", "\u3000", "\u00e9", "!",  " "};
  for (const char* name : {"gpt-2", "mpt"}) EXPECT_EQ(split(name, kSample), words) << name;
}

TEST(PreTokenizerTest, SmollmSplitsDigits) {
  const Words words = {"I", "'ll",    " ",      " pay",   " WE", "'", "RE",      " $",
                       "1", "2",      "3",      "4",      "`",   "5", "\r\n\n ", " x\u4e2d\u6587",
                       "1", "\u0663", "\u3000", "\u00e9", "!",   " "};
  for (const char* name : {"smollm", "starcoder", "refact"}) EXPECT_EQ(split(name, kSample), words) << name;
}

TEST(PreTokenizerTest, DefaultAndFalcon) {
  const Words words = {"I",       "'",      "ll",     " ", " pay", " WE", "'",       "RE",
                       " ",       "$",      "123",    "4", "`",    "5",   "\r\n\n ", " x\u4e2d\u6587",
                       "1\u0663", "\u3000", "\u00e9", "!", " "};
  for (const char* name : {"default", "falcon"}) EXPECT_EQ(split(name, kSample), words) << name;
  EXPECT_EQ(split("default", " `"), Words({" `"}));  // the grave accent is falcon's alone
  EXPECT_EQ(split("falcon", " `"), Words({" ", "`"}));
  EXPECT_EQ(split("default", " 12"), Words({" ", "12"}));  // the numbers of default have no space
  EXPECT_EQ(split("falcon", " 12"), Words({" 12"}));
}

TEST(PreTokenizerTest, Llama3TakesThreeDigits) {
  const Words words = {"I", "'ll",    " ", " pay",           " WE",     "'RE",          " $", "123", "4", "`",
                       "5", "\r\n\n", " ", " x\u4e2d\u6587", "1\u0663", "\u3000\u00e9", "!",  " "};
  for (const char* name : {"llama-bpe", "llama3", "llama-v3"}) EXPECT_EQ(split(name, kSample), words) << name;
}

TEST(PreTokenizerTest, Qwen2TakesOneDigit) {
  EXPECT_EQ(
      split("qwen2", kSample),
      Words({"I", "'ll",    " ", " pay",           " WE", "'RE",    " $",           "1", "2", "3", "4", "`",
             "5", "\r\n\n", " ", " x\u4e2d\u6587", "1",   "\u0663", "\u3000\u00e9", "!", " "}));
}

TEST(PreTokenizerTest, Deepseek) {
  EXPECT_EQ(
      split("deepseek-llm", kSample),
      Words({"I",  "'",  "ll", " ", " pay", " WE",          "'",       "RE",     " $",     "1234", "`", "5",
             "\r", "\n", "\n", " ", " x",   "\u4e2d\u6587", "1\u0663", "\u3000", "\u00e9", "!",    " "}));
  EXPECT_EQ(
      split("deepseek-coder", kSample),
      Words({"I",      "'", "ll", " ",  " pay", " WE", "'", "RE", " $",           "1", "2",      "3",
             "4",      "`", "5",  "\r", "\n",   "\n",  " ", " x", "\u4e2d\u6587", "1", "\u0663", "\u3000",
             "\u00e9", "!", " "}));
  // Cased letters are a word and others are not: Greek with accents, the Kelvin sign, Hebrew.
  EXPECT_EQ(split("deepseek-llm", "\u1f7d\u212a \u05d0"), Words({"\u1f7d\u212a", " \u05d0"}));
}

// U+180E has no White_Space property since Unicode 6.3.
TEST(PreTokenizerTest, MongolianVowelSeparatorIsNoSpace) {
  EXPECT_EQ(split("gpt-2", "a \u180e"), Words({"a", " \u180e"}));
}

TEST(PreTokenizerTest, InvalidBytesAreWordsOfTheirOwn) {
  EXPECT_EQ(split("gpt-2", "ab\xFFz \xE4\xB8"), Words({"ab", "\xFF", "z", " ", "\xE4", "\xB8"}));
  EXPECT_EQ(split("gpt-2", "\xED\xA0\x80"), Words({"\xED", "\xA0", "\x80"}));  // a surrogate
  EXPECT_EQ(split("gpt-2", ""), Words());
}

TEST(PreTokenizerTest, UnknownNameIsNone) {
  EXPECT_FALSE(PreTokenizer::named("tekken").has_value());
}

}  // namespace
}  // namespace miser
