// A session that forgets tokens, and one whose cache may take so many bytes, under every policy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "limited_session.h"
#include "session/generate.h"

namespace miser {
namespace {

using test::LimitedSession;

class SessionMemory : public LimitedSession, public testing::WithParamInterface<std::string> {};

TEST_P(SessionMemory, NeverExceedsItsLimit) {
  for (const bool drop_oldest : {false, true}) {
    SessionOptions with_limit = limited(GetParam(), 12000);
    with_limit.kv_drop_oldest = drop_oldest;
    Session session(model, pool, with_limit);
    const auto tokens = random_tokens(std::min<std::size_t>(session.capacity(), 600));
    std::mt19937 random(2);
    while (session.size() < tokens.size()) {
      const std::size_t n = std::min<std::size_t>(tokens.size() - session.size(), 1 + random() % 100);
      const auto logits = session.feed(std::span(tokens).subspan(session.size(), n));
      EXPECT_TRUE(std::ranges::all_of(logits, [](float x) { return std::isfinite(x); }));
      ASSERT_LE(session.cache().bytes_peak(), with_limit.kv_memory) << session.size() << " tokens";
    }
    EXPECT_EQ(session.cache().n_dropped() > 0, drop_oldest);
    EXPECT_GT(session.cache().vectors_at()[0], 0U) << "nothing was demoted, so nothing was tested";
  }
}

TEST_P(SessionMemory, TokensThatWereForgottenWithinTheWindowLeaveNoTrace) {
  const auto tokens = random_tokens(120);
  const auto others = random_tokens(30);
  Session session(model, pool, options(GetParam()));
  Session fresh(model, pool, options(GetParam()));
  session.feed(std::span(tokens).first(97));
  session.feed(others);  // up to 127: no block leaves for the sake of these
  session.truncate(97);
  fresh.feed(std::span(tokens).first(97));
  EXPECT_EQ(session.tokens(), fresh.tokens());
  EXPECT_EQ(session.signals().size(), fresh.signals().size());
  const auto expected = fresh.feed(std::span(tokens).subspan(97));
  const auto found = session.feed(std::span(tokens).subspan(97));
  EXPECT_TRUE(std::ranges::equal(found, expected));
}

TEST_P(SessionMemory, GoesOnAfterForgettingPackedTokens) {
  const auto tokens = random_tokens(700);
  Session session(model, pool, options(GetParam()));
  session.feed(tokens);
  for (const std::size_t n : {600, 560, 300, 2}) {
    session.truncate(n);
    EXPECT_EQ(session.size(), n);
    const auto logits = session.feed(std::span(tokens).first(150));
    EXPECT_TRUE(std::ranges::all_of(logits, [](float x) { return std::isfinite(x); }));
    EXPECT_EQ(session.size(), n + 150);
    EXPECT_EQ(session.tokens().size(), n + 150);
  }
  session.truncate(0);
  Session fresh(model, pool, options(GetParam()));
  const auto expected = fresh.feed(std::span(tokens).first(200));
  EXPECT_TRUE(std::ranges::equal(session.feed(std::span(tokens).first(200)), expected));
}

INSTANTIATE_TEST_SUITE_P(Policies, SessionMemory, testing::ValuesIn(test::kPolicies), test::policy_name);

TEST_F(LimitedSession, ChunksChangeNoWidthUnderALimit) {
  const auto tokens = random_tokens(400);
  const auto widths = [&](std::size_t batch) {
    SessionOptions with_limit = limited("q8", 24000);
    with_limit.batch = batch;
    Session session(model, pool, with_limit);
    session.feed(tokens);
    return session.cache().vectors_at();
  };
  const auto expected = widths(512);
  EXPECT_GT(expected[2], 0U);
  // Float rounding may move a rating to the next step, not more.
  for (const std::size_t batch : {7, 64}) {
    const auto found = widths(batch);
    for (std::size_t w = 0; w < expected.size(); ++w)
      EXPECT_NEAR(static_cast<double>(found[w]), static_cast<double>(expected[w]), 60) << batch;
  }
}

TEST_F(LimitedSession, GenerationStopsWhenTheMemoryIsFull) {
  Tokenizer tokenizer(model.file());
  SamplingOptions sampling;
  sampling.temperature = 0;
  GenerateOptions generation;
  generation.ignore_eos = true;
  const auto prompt = random_tokens(100);
  for (const bool drop_oldest : {false, true}) {
    SessionOptions with_limit = limited("q4", 12000);
    with_limit.kv_drop_oldest = drop_oldest;
    Session session(model, pool, with_limit);
    Sampler sampler(sampling);
    const Generation found =
        generate(session, tokenizer, sampler, prompt, generation, [](std::string_view) {});
    EXPECT_EQ(found.stop_reason, drop_oldest ? StopReason::kContextFull : StopReason::kMemoryFull);
    EXPECT_EQ(session.size(), session.capacity());
    EXPECT_LE(session.cache().bytes_peak(), with_limit.kv_memory);
  }
}

TEST_F(LimitedSession, APromptThatCannotFitIsRefusedBeforeTheWork) {
  Session session(model, pool, limited("q4", 12000));
  Tokenizer tokenizer(model.file());
  Sampler sampler({});
  const auto prompt = random_tokens(session.capacity() + 1);
  EXPECT_THAT([&] { generate(session, tokenizer, sampler, prompt, {}, [](std::string_view) {}); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("--kv-memory")));
  EXPECT_EQ(session.size(), 0U);
}

}  // namespace
}  // namespace miser
