// Text that goes on past the context: the older half is dropped and the sinks follow (kv::Cache::shift()).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "eval/random_model.h"
#include "limited_session.h"
#include "nn/ops.h"
#include "session/generate.h"

namespace miser {
namespace {

using test::LimitedSession;

constexpr std::size_t kContext = 300;

class ContextShift : public LimitedSession {
 protected:
  SessionOptions shifting(const std::string& kv) const {
    SessionOptions o = options(kv);
    o.context = kContext;
    o.context_shift = true;
    return o;
  }
};

class ContextShiftOf : public ContextShift, public testing::WithParamInterface<std::string> {};

TEST_P(ContextShiftOf, GoesOnWithoutEnd) {
  const auto tokens = random_tokens(2500);
  Session plain(model, pool, shifting(GetParam()));
  SessionOptions with_limit = limited(GetParam(), 20000);
  with_limit.context = kContext;
  with_limit.context_shift = true;
  Session with_memory(model, pool, with_limit);
  with_limit.kv_drop_oldest = true;
  with_limit.kv_memory -= 8000;
  Session dropping(model, pool, with_limit);
  for (Session* const session : {&plain, &with_memory, &dropping}) {
    std::mt19937 random(2);
    std::size_t most = 0;
    for (std::size_t done = 0; done < tokens.size();) {
      const std::size_t n = std::min<std::size_t>(tokens.size() - done, 1 + random() % 90);
      const auto logits = session->feed(std::span(tokens).subspan(done, n));
      ASSERT_TRUE(std::ranges::all_of(logits, [](float x) { return std::isfinite(x); })) << done;
      done += n;
      EXPECT_EQ(session->tokens().size(), session->size());
      EXPECT_EQ(session->n_read(), done);
      EXPECT_LE(session->size() - (session->cache().n_dropped() - session->cache().shifted()), kContext);
      if (session != &plain) {
        ASSERT_LE(session->cache().bytes_peak(), with_limit.kv_memory + 8000);
      }
      if (done < 700) most = std::max(most, session->cache().bytes());
    }
    EXPECT_LE(session->cache().bytes(), most + most / 4);
    EXPECT_GT(session->cache().shifted(), 1500U);
  }
  EXPECT_LE(dropping.cache().bytes_peak(), with_limit.kv_memory);
}

INSTANTIATE_TEST_SUITE_P(Policies, ContextShiftOf, testing::ValuesIn(test::kPolicies), test::policy_name);

TEST_F(ContextShift, ChunksChangeNothing) {
  const auto tokens = random_tokens(1000);
  for (const std::string kv : {"f16", "q4"}) {
    std::vector<float> expected;
    for (const std::size_t batch : {512, 50, 7}) {
      SessionOptions o = shifting(kv);
      o.batch = batch;
      Session session(model, pool, o);
      const auto logits = session.feed(tokens);
      if (expected.empty()) expected.assign(logits.begin(), logits.end());
      for (std::size_t i = 0; i < logits.size(); ++i)
        ASSERT_NEAR(logits[i], expected[i], kv == "f16" ? 2e-3 : 0.2);
    }
  }
}

TEST_F(ContextShift, TurnsTheKeysOfTheSinksToWhereTheyWouldStand) {
  const std::size_t n_sinks = 4;
  Session session(model, pool, shifting("f16"));
  Session expected(model, pool, shifting("f16"));
  const auto tokens = random_tokens(2000);
  session.feed(std::span(tokens).first(1200));
  expected.feed(std::span(tokens).first(40));
  // Of the sinks' own distance nothing changes; seen from the newest token they stand where the gap ended.
  const kv::CacheConfig& c = session.cache().config();
  const std::size_t later = session.cache().n_dropped();
  ASSERT_GT(later, 600U);
  std::vector<float> cos_sin;
  for (const float frequency : model.rope_frequencies()) {
    const double angle = static_cast<double>(later) * frequency;
    cos_sin.push_back(static_cast<float>(std::cos(angle)));
    cos_sin.push_back(static_cast<float>(std::sin(angle)));
  }
  const auto keys = [&](const Session& of, std::size_t layer, std::size_t g) {
    const kv::LayerCache& l = of.cache().layer(layer);
    std::vector<float> rows(n_sinks * c.head_dim);
    nn::f16_to_f32(std::span(l.exact_k).subspan(g * l.exact_capacity * c.head_dim, rows.size()), rows);
    return rows;
  };
  for (std::size_t layer = 0; layer < c.n_layers; ++layer) {
    for (std::size_t g = 0; g < c.n_kv_heads; ++g) {
      const auto found = keys(session, layer, g);
      auto wanted = keys(expected, layer, g);
      nn::apply_rope(wanted, n_sinks, c.head_dim, cos_sin);
      for (std::size_t i = 0; i < found.size(); ++i) {
        // A rounding to binary16 for every shift and one for the key itself, of a pair as long as both
        // values.
        const float length = std::hypot(wanted[i], wanted[i ^ 1U]);
        const auto n_roundings = static_cast<float>(1 + later / 100);
        ASSERT_NEAR(found[i], wanted[i], n_roundings * 0x1p-11F * length + 1e-6F) << layer << ", " << i;
      }
    }
  }
}

/// Where the blocks of the first layer lie that left the window.
struct Left {
  std::size_t position;
  std::size_t turn;
  std::size_t n;
};

class NotesBlocks : public policy::Policy {
 public:
  explicit NotesBlocks(std::vector<Left>& blocks) : blocks_(blocks) {}
  std::string name() const override { return "notes"; }
  void choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) override {
    if (block.layer == 0) blocks_.push_back({block.first_position, block.first_turn, block.n_tokens});
    std::ranges::fill(widths.k, kv::Width::k4);
    std::ranges::fill(widths.v, kv::Width::k4);
  }

 private:
  std::vector<Left>& blocks_;
};

TEST_F(ContextShift, PoliciesAreToldWhatRopeCountsWhereverTokensAreNumberedAnew) {
  std::vector<Left> blocks;
  SessionOptions o = shifting("q4");
  o.make_policy = [&](const policy::SignalHistory&) { return std::make_unique<NotesBlocks>(blocks); };
  Session session(model, pool, o);
  session.feed(random_tokens(2500));
  ASSERT_GT(session.cache().shifted(), 0U);
  std::size_t turn = session.cache().config().sinks;
  for (const Left& block : blocks) {  // every token of the text leaves once
    EXPECT_EQ(block.turn, turn);
    EXPECT_LE(block.position, block.turn);
    turn += block.n;
  }
  EXPECT_LT(blocks.back().position, blocks.back().turn);
  EXPECT_GT(turn, 2500 - 3 * session.cache().config().window);
}

/// With one layer, keys and values depend on their tokens alone: a shifted cache is one of the kept text.
TEST_F(ContextShift, EqualsAFreshStartWithWhatIsKeptWhereNothingElseIsRemembered) {
  eval::Shape shape = eval::parse_shape("smollm-135m:F16");
  shape.config.n_layers = 1;
  shape.config.n_vocab = 300;
  const Model one_layer = eval::make_random_model(shape, 4096, 1);
  SessionOptions o;
  o.kv = "f16";
  o.context = kContext;
  o.context_shift = true;
  Session session(one_layer, pool, o);
  std::mt19937 random(3);
  std::vector<std::int32_t> tokens(1500);
  for (auto& token : tokens) token = static_cast<std::int32_t>(random() % 300);
  const auto found = session.feed(tokens);

  const std::size_t n_kept = session.n_read() - session.cache().n_dropped() - 4;
  std::vector<std::int32_t> kept(tokens.begin(), tokens.begin() + 4);
  kept.insert(kept.end(), tokens.end() - static_cast<std::ptrdiff_t>(n_kept), tokens.end());
  Session fresh(one_layer, pool, o);
  const auto expected = fresh.feed(kept);
  double error = 0;
  double norm = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    error += (found[i] - expected[i]) * (found[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  EXPECT_LT(std::sqrt(error / norm), 2e-3);
}

TEST_F(ContextShift, GenerationGoesOnPastTheContext) {
  Tokenizer tokenizer(model.file());
  SamplingOptions sampling;
  sampling.temperature = 0;
  GenerateOptions generation;
  generation.ignore_eos = true;
  generation.max_tokens = 800;
  Session session(model, pool, shifting("q4"));
  Sampler sampler(sampling);
  const Generation found =
      generate(session, tokenizer, sampler, random_tokens(100), generation, [](std::string_view) {});
  EXPECT_EQ(found.stop_reason, StopReason::kLength);
  EXPECT_EQ(session.n_read(), 899U);
  EXPECT_THAT(
      [&] {
        generate(session, tokenizer, sampler, random_tokens(kContext + 600), generation,
                 [](std::string_view) {});
      },
      testing::ThrowsMessage<Error>(testing::HasSubstr("more tokens do not fit")));
}

TEST_F(ContextShift, NeedsRoomForWhatItKeeps) {
  SessionOptions o = shifting("q4");
  o.context = 100;
  EXPECT_THAT([&] { Session(model, pool, o); },
              testing::ThrowsMessage<UsageError>(testing::HasSubstr("expected at least 196")));
}

}  // namespace
}  // namespace miser
