// How a text is cut into chunks changes nothing: DESIGN's "exactness goes by position". A property test over
// random texts, tiny models, policies, windows and blocks. MISER_TEST_SEED repeats a failure.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>

#include "compare.h"
#include "model/model.h"
#include "nn/matrix.h"
#include "nn/thread_pool.h"
#include "policy/rule.h"
#include "session/plans.h"
#include "session/session.h"
#include "tiny_model.h"
#include "tiny_plan.h"

namespace miser {
namespace {

using test::difference;
using test::Spread;
using test::TinyModel;

std::uint64_t seed() {
  static const std::uint64_t value = [] {
    const char* given = std::getenv("MISER_TEST_SEED");
    const std::uint64_t chosen = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
    std::printf("MISER_TEST_SEED=%llu\n", static_cast<unsigned long long>(chosen));
    return chosen;
  }();
  return value;
}

/// What a session shows of a text.
struct Pass {
  std::vector<float> logits;      ///< [n, n_vocab]
  std::vector<float> bits;        ///< [n]
  policy::SignalHistory signals;  ///< [n]
  std::array<std::uint64_t, kv::kWidthCount> vectors_at{};
  std::size_t bytes = 0;
};

/// A model, a text and all of a session's options but the batch.
struct Case {
  const TinyModel* tiny = nullptr;
  const Model* model = nullptr;
  std::vector<std::int32_t> tokens;
  SessionOptions options;

  std::string describe() const {
    return options.kv + ", window " + std::to_string(options.kv_window) + ", block " +
           std::to_string(options.kv_block) + ", " + tiny->name + ", " + std::to_string(tokens.size()) +
           " tokens, seed " + std::to_string(seed());
  }
};

Pass finish(const Session& session, std::vector<float> logits) {
  Pass pass{std::move(logits), {}, session.signals(), session.cache().vectors_at(), session.cache().bytes()};
  for (std::size_t i = 0; i < session.size(); ++i) pass.bits.push_back(session.record()->at(i).bits);
  return pass;
}

/// Prefill in chunks of at most `batch` tokens.
Pass prefill(const Case& c, nn::ThreadPool& pool, std::size_t batch) {
  SessionOptions options = c.options;
  options.batch = batch;
  Session session(*c.model, pool, options);
  auto logits = test::all_logits(session, c.tokens);
  return finish(session, std::move(logits));
}

/// Token by token, as in decoding.
Pass decode(const Case& c, nn::ThreadPool& pool) {
  Session session(*c.model, pool, c.options);
  std::vector<float> all;
  for (const std::int32_t token : c.tokens) {
    const auto logits = session.feed({&token, 1});
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return finish(session, std::move(all));
}

/// A prompt in chunks, then single tokens, then another chunk: as in a chat.
Pass chat(const Case& c, nn::ThreadPool& pool) {
  Session session(*c.model, pool, c.options);
  std::vector<float> all;
  const std::size_t n = c.tokens.size();
  const std::span<const std::int32_t> tokens = c.tokens;
  auto feed = [&](std::size_t first, std::size_t last) {
    const auto logits = test::all_logits(session, tokens.subspan(first, last - first));
    all.insert(all.end(), logits.begin(), logits.end());
  };
  feed(0, n / 2);
  for (std::size_t i = n / 2; i < n / 2 + 20; ++i) feed(i, i + 1);
  feed(n / 2 + 20, n);
  return finish(session, std::move(all));
}

bool rates_vectors(const std::string& kv) {
  return kv.starts_with("learned") || kv.starts_with("received");
}

/// Whether the signals of one token are the same but for rounding, and for the roundings of K and V that it
/// flips. Those of another token are not: the text is random.
bool equal_signals(const policy::TokenSignals& a, const policy::TokenSignals& b, std::size_t position) {
  const float variance = std::abs(a.attention_variance - b.attention_variance);
  return std::abs(a.entropy - b.entropy) < 0.4F && std::abs(a.confidence - b.confidence) < 0.1F &&
         std::abs(a.rarity - b.rarity) < 1e-5F && variance * static_cast<float>(position + 1) < 0.1F;
}

/// Whether the width of a token is what the rule makes of its signals.
bool has_width_of_rule(const Pass& pass, std::size_t position) {
  const kv::Width width = policy::Rule::width_of(pass.signals[position], position);
  return pass.bits[position] == static_cast<float>(kv::bits(width));
}

/// Share of the tokens whose widths differ.
double share_that_differs(const Pass& a, const Pass& b) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < a.bits.size(); ++i) n += a.bits[i] != b.bits[i] ? 1 : 0;
  return static_cast<double>(n) / static_cast<double>(a.bits.size());
}

/// A wrong set of packed tokens changes a logit about as much as the policy does itself (`effect`, the
/// distance from exact logits); rounding and the flips of compare.h change it by far less. `rounding` is what
/// binary16 does, for policies that quantise little or nothing: products of few rows (`few_rows`: in some
/// pass of `found`) round x to 16 bits, which flips about as many roundings of K and V.
/// tests/attention_test.cc has the case without flips. The rule decides by thresholds, so one flip may move a
/// width, and all that follows. A policy that rates each vector by floats flips widths too, but few: a price
/// that knew another part of the text would move widths of almost every token.
void expect_same(const Pass& found, const Pass& expected, const Spread& effect, const Spread& rounding,
                 const std::string& kv, bool few_rows) {
  const auto differ =
      std::mismatch(found.bits.begin(), found.bits.end(), expected.bits.begin(), expected.bits.end());
  const auto n_same = static_cast<std::size_t>(differ.first - found.bits.begin());
  const std::size_t n_vocab = expected.logits.size() / expected.bits.size();
  if (n_same < expected.bits.size()) {
    EXPECT_TRUE((kv == "rule" && equal_signals(found.signals[n_same], expected.signals[n_same], n_same) &&
                 has_width_of_rule(found, n_same) && has_width_of_rule(expected, n_same)) ||
                (rates_vectors(kv) && share_that_differs(found, expected) < 0.05))
        << "widths of token " << n_same << " differ";
  } else {
    EXPECT_EQ(found.vectors_at, expected.vectors_at);
  }
  const Spread spread = difference(std::span(found.logits).first(n_same * n_vocab),
                                   std::span(expected.logits).first(n_same * n_vocab));
  const float times = few_rows ? 4 : 2;
  EXPECT_LT(spread.median, times * rounding.median + 0.1 * effect.median);
  EXPECT_LT(spread.p99, times * rounding.p99 + 0.3 * effect.p99);
  EXPECT_LT(spread.max, times * rounding.max + effect.max);
}

class Invariance : public ::testing::TestWithParam<std::string> {
 protected:
  Invariance() : tiny_(test::tiny_models()) {
    for (const TinyModel& tiny : tiny_) models_.push_back(std::make_unique<Model>(Model::load(tiny.path)));
  }

  Case draw(std::size_t window, std::size_t block) {
    const std::size_t m = random_() % tiny_.size();
    Case c;
    c.tiny = &tiny_[m];
    c.model = models_[m].get();
    c.tokens.resize(c.tiny->tokens.size() > 150 ? 300 + random_() % 100 : 90 + random_() % 60);
    for (std::int32_t& token : c.tokens) {
      token = static_cast<std::int32_t>(random_() % c.model->config().n_vocab);
    }
    c.options.kv = GetParam();
    const policy::PlanModel model = plan_model(*c.model);
    const auto plan = std::make_shared<const policy::Plan>(test::tiny_plan(model));
    c.options.plans = std::make_shared<const policy::Plans>(model, plan, false);
    c.options.kv_window = window;
    c.options.kv_block = block;
    c.options.record = true;
    return c;
  }

  /// Distance of `pass` from the logits of the same text while all of it is staged.
  Spread effect(Case c, const Pass& pass) {
    c.options.kv_window = c.tokens.size();
    c.options.record = false;
    Session session(*c.model, pool_, c.options);
    return difference(pass.logits, test::all_logits(session, c.tokens));
  }

  /// What binary16 does to the logits of the model's own text.
  static Spread rounding(const TinyModel& tiny) {
    for (const test::TinyRun& run : tiny.runs) {
      if (run.kv == "f16") return difference(tiny.array(run, "logits").values, tiny.exact_logits().values);
    }
    return {};
  }

  std::mt19937_64 random_{seed()};
  std::vector<TinyModel> tiny_;
  std::vector<std::unique_ptr<Model>> models_;
  nn::ThreadPool pool_{1};
};

TEST_P(Invariance, ChunksDoNotChangeLogitsOrWidths) {
  for (const std::size_t window : {0, 8, 32}) {
    for (const std::size_t block : {1, 32}) {
      const Case c = draw(window, block);
      SCOPED_TRACE(c.describe());
      const Pass all = prefill(c, pool_, 512);
      const Spread effect_of_policy = effect(c, all);
      const Spread effect_of_binary16 = rounding(*c.tiny);
      for (const std::size_t batch : {1, 7, 64}) {
        SCOPED_TRACE("chunks of " + std::to_string(batch));
        const std::size_t last = c.tokens.size() % batch;
        const bool few_rows = batch < nn::kManyRows || (last > 0 && last < nn::kManyRows);
        expect_same(prefill(c, pool_, batch), all, effect_of_policy, effect_of_binary16, GetParam(),
                    few_rows);
      }
      const Pass decoded = decode(c, pool_);
      {
        SCOPED_TRACE("token by token");
        expect_same(decoded, all, effect_of_policy, effect_of_binary16, GetParam(), true);
      }
      {
        SCOPED_TRACE("chat");
        expect_same(chat(c, pool_), all, effect_of_policy, effect_of_binary16, GetParam(), true);
      }
    }
  }
}

TEST_P(Invariance, ClearedSessionIsANewOne) {
  const Case c = draw(8, 32);
  SCOPED_TRACE(c.describe());
  Session session(*c.model, pool_, c.options);
  const Pass first = finish(session, test::all_logits(session, c.tokens));
  session.clear();
  EXPECT_EQ(session.size(), 0U);
  const Pass second = finish(session, test::all_logits(session, c.tokens));
  EXPECT_EQ(first.logits, second.logits);
  EXPECT_EQ(first.bits, second.bits);
  EXPECT_EQ(first.bytes, second.bytes);
}

std::string name_of(const ::testing::TestParamInfo<std::string>& policy) {
  return policy.param.substr(0, policy.param.find_first_of(":@"));
}

INSTANTIATE_TEST_SUITE_P(Policies, Invariance,
                         ::testing::Values("f16", "q8", "q4", "q3", "q2", "q1", "k3v2",
                                           "random:1=20,2=20,3=20,4=20,8=10,16=10:3", "rule", "learned@5",
                                           "received@5", "static@5.5"),
                         name_of);

}  // namespace
}  // namespace miser
