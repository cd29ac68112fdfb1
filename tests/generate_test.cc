#include "session/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "tiny_model.h"

namespace miser {
namespace {

using testing::HasSubstr;
using testing::Le;
using testing::ThrowsMessage;

/// A random model: its text is mostly single bytes, few of which make up characters.
class Generate : public testing::Test {
 protected:
  static Model load() {
    for (const auto& tiny : test::tiny_models()) {
      if (tiny.name == "f32_long") return Model::load(tiny.path);
    }
    throw std::runtime_error("no fixture f32_long: run ./dev test, which makes it");
  }

  Generation run(const std::vector<Token>& tokens) {
    Sampler sampler(sampling);
    session.clear();
    shown.clear();
    return generate(session, tokenizer, sampler, tokens, options, [this](std::string_view text) {
      shown.emplace_back(text);
      if (on_text) on_text();
    });
  }

  static SessionOptions small_context() {
    SessionOptions small;
    small.context = 100;
    return small;
  }

  static SamplingOptions greedy() {
    SamplingOptions zero;
    zero.temperature = 0;
    return zero;
  }

  static GenerateOptions twenty_tokens() {
    GenerateOptions twenty;
    twenty.max_tokens = 20;
    return twenty;
  }

  Model model = load();
  Tokenizer tokenizer{model.file()};
  nn::ThreadPool pool{1};
  Session session{model, pool, small_context()};
  SamplingOptions sampling = greedy();
  GenerateOptions options = twenty_tokens();
  std::vector<std::string> shown;
  std::function<void()> on_text;
  std::vector<Token> prompt = {200, 100, 50, 25, 12};
};

TEST_F(Generate, GreedyTokensAreThoseOfFeedingTheLikeliestEachTime) {
  std::vector<Token> expected;
  auto logits = session.feed(prompt);
  while (expected.size() < 20) {
    expected.push_back(static_cast<Token>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    logits = session.feed({&expected.back(), 1});
  }
  const Generation found = run(prompt);
  EXPECT_EQ(found.tokens, expected);
  EXPECT_EQ(found.text, tokenizer.decode(expected));
  EXPECT_EQ(found.n_prompt, 5U);
  EXPECT_EQ(found.stop_reason, StopReason::kLength);
}

TEST_F(Generate, TheLastTokenIsNotFed) {
  const Generation found = run(prompt);
  EXPECT_EQ(found.n_decoded, 19U);
  EXPECT_EQ(session.size(), 5U + 19U);
}

TEST_F(Generate, ShowsWholeCharactersThatAddUpToTheText) {
  sampling.temperature = 5;
  sampling.top_k = 0;
  options.max_tokens = 90;
  bool many_bytes = false;
  for (sampling.seed = 0; sampling.seed < 20; ++sampling.seed) {
    const Generation found = run(prompt);
    std::string all;
    std::string repaired;  // differs from the repaired whole where a part ends within a character
    for (const std::string& part : shown) {
      all += part;
      repaired += replace_invalid_utf8(part);
      many_bytes =
          many_bytes || (part.size() > 1 && replace_invalid_utf8(part) == part && (part[0] & 0x80) != 0);
    }
    EXPECT_EQ(all, found.text);
    EXPECT_EQ(repaired, replace_invalid_utf8(found.text)) << "seed " << sampling.seed;
  }
  EXPECT_TRUE(many_bytes) << "no character of several tokens was made, so nothing was tested";
}

TEST_F(Generate, EndsBeforeAStopString) {
  const Generation whole = run(prompt);
  const std::string stop = whole.text.substr(whole.text.size() / 2, 4);
  options.stop = {"not in the text", stop};
  const Generation found = run(prompt);
  EXPECT_EQ(found.stop_reason, StopReason::kStopString);
  EXPECT_EQ(found.text, whole.text.substr(0, whole.text.find(stop)));
}

TEST_F(Generate, TheSessionForgetsTheStopString) {
  const Generation whole = run(prompt);
  for (std::size_t at = 0; at + 4 <= whole.text.size(); ++at) {
    options.stop = {whole.text.substr(at, 4)};
    const Generation found = run(prompt);
    std::vector<Token> kept(found.tokens.begin(), found.tokens.begin() + static_cast<long>(found.n_kept));
    std::string text;
    for (const Token token : kept) text += tokenizer.piece(token);
    EXPECT_EQ(text + found.rest, found.text);
    EXPECT_LT(found.rest.size(), tokenizer.piece(found.tokens[found.n_kept]).size());
    kept.insert(kept.begin(), prompt.begin(), prompt.end());
    EXPECT_EQ(session.tokens(), kept);
    EXPECT_EQ(session.size(), kept.size());
  }
}

TEST_F(Generate, EndsAtAnEndOfGenerationTokenUnlessItIsBanned) {
  sampling.temperature = 1000;  // as good as uniform over 307 tokens
  sampling.top_k = 0;
  sampling.top_p = 1;
  sampling.min_p = 0;
  options.max_tokens = 90;
  int ended = 0;
  for (sampling.seed = 0; sampling.seed < 30; ++sampling.seed) {
    const Generation found = run(prompt);
    ended += found.stop_reason == StopReason::kEndOfGeneration ? 1 : 0;
    for (const Token token : found.tokens) EXPECT_FALSE(tokenizer.is_end_of_generation(token));
  }
  EXPECT_GT(ended, 0);
  options.ignore_eos = true;
  for (sampling.seed = 0; sampling.seed < 30; ++sampling.seed) {
    const Generation found = run(prompt);
    EXPECT_EQ(found.stop_reason, StopReason::kLength);
    for (const Token token : found.tokens) EXPECT_FALSE(tokenizer.is_end_of_generation(token));
  }
}

TEST_F(Generate, EndsWhenTheContextIsFull) {
  options.max_tokens = -1;
  options.ignore_eos = true;
  const Generation found = run(prompt);
  EXPECT_EQ(found.stop_reason, StopReason::kContextFull);
  EXPECT_EQ(session.size(), 100U);
  EXPECT_EQ(found.tokens.size(), 96U) << "95 that were fed, and one more from the last logits";
}

TEST_F(Generate, APromptMayFillTheContext) {
  const std::vector<Token> full(100, 65);
  const Generation found = run(full);
  EXPECT_EQ(found.stop_reason, StopReason::kContextFull);
  EXPECT_EQ(found.tokens.size(), 1U);
}

TEST_F(Generate, RejectsAPromptThatIsEmptyOrTooLong) {
  EXPECT_THAT([this] { run({}); }, ThrowsMessage<Error>(HasSubstr("empty")));
  EXPECT_THAT([this] { run(std::vector<Token>(101, 65)); }, ThrowsMessage<Error>(HasSubstr("101 tokens")));
}

TEST_F(Generate, NoTokensWantedMeansPrefillOnly) {
  options.max_tokens = 0;
  const Generation found = run(prompt);
  EXPECT_EQ(found.text, "");
  EXPECT_EQ(found.stop_reason, StopReason::kLength);
  EXPECT_EQ(session.size(), 5U);
}

TEST_F(Generate, AnInterruptStopsBetweenTokens) {
  std::atomic<bool> interrupt = false;
  options.interrupt = &interrupt;
  on_text = [&] { interrupt = true; };
  const Generation found = run(prompt);
  EXPECT_EQ(found.stop_reason, StopReason::kInterrupted);
  EXPECT_THAT(found.tokens.size(), Le(4U)) << "a character has at most four";
}

TEST_F(Generate, AnInterruptStopsThePrefill) {
  std::atomic<bool> interrupt = false;
  options.interrupt = &interrupt;
  options.prefill_step = 2;
  options.on_prefill = [&](std::size_t done, std::size_t total) {
    EXPECT_EQ(total, 5U);
    interrupt = done == 4;
  };
  const Generation found = run(prompt);
  EXPECT_EQ(found.stop_reason, StopReason::kInterrupted);
  EXPECT_EQ(session.size(), 4U);
  EXPECT_EQ(found.text, "");
}

TEST_F(Generate, SameSeedSameText) {
  sampling.temperature = 1;
  sampling.seed = 3;
  const std::string first = run(prompt).text;
  EXPECT_EQ(run(prompt).text, first);
  sampling.seed = 4;
  EXPECT_NE(run(prompt).text, first);
}

}  // namespace
}  // namespace miser
