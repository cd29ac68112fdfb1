#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "kv/demotion.h"
#include "policy/fixed.h"
#include "policy/policy.h"
#include "policy/random.h"
#include "policy/rated.h"
#include "policy/recorder.h"
#include "policy/rule.h"

namespace miser::policy {
namespace {

using kv::Width;

constexpr std::size_t kHeads = 2;
constexpr std::size_t kTokens = 32;

kv::LeavingBlock block_at(std::size_t layer, std::size_t position, std::size_t n_tokens = kTokens) {
  kv::LeavingBlock block;
  block.layer = layer;
  block.first_position = position;
  block.n_tokens = n_tokens;
  block.n_heads = block.n_kv_heads = kHeads;
  block.head_dim = 8;
  return block;
}

kv::BlockWidths choose(Policy& policy, const kv::LeavingBlock& block) {
  kv::BlockWidths widths;
  widths.k.assign(kHeads * block.n_tokens, Width::k16);
  widths.v.assign(kHeads * block.n_tokens, Width::k16);
  policy.choose(block, widths);
  return widths;
}

std::string error_of(const std::string& spec) {
  try {
    parse(spec, {});
  } catch (const UsageError& e) {
    return e.what();
  }
  return "no error";
}

TEST(PolicyParse, NamesRoundTrip) {
  for (const char* spec : {"f16", "q8", "q4", "q3", "q2", "q1", "k3v2", "k16v1", "k8v4", "rule",
                           "random:1=45,2=15,3=15,4=18,8=7:0", "random:2=50,16=50:7"}) {
    EXPECT_EQ(parse(spec, {})->name(), spec);
  }
  EXPECT_EQ(parse("random:2=100", {})->name(), "random:2=100:0");
  EXPECT_EQ(parse("k4v4", {})->name(), "q4");
  EXPECT_EQ(parse("q16", {})->name(), "f16");
}

TEST(PolicyParse, UnknownNamesListWhatIsKnown) {
  for (const char* spec : {"", "q5", "q", "k3", "k3v", "kv2", "k0v2", "q4 ", "F16", "learnt"}) {
    EXPECT_THAT(error_of(spec),
                testing::AllOf(testing::HasSubstr("unknown KV policy"), testing::HasSubstr("rule")))
        << spec;
  }
}

TEST(PolicyParse, RandomSaysWhatIsWrongWithItsShares) {
  EXPECT_THAT(error_of("random:2=50"), testing::HasSubstr("sum to 50"));
  EXPECT_THAT(error_of("random:"), testing::HasSubstr("sum to 0"));
  EXPECT_THAT(error_of("random:5=100"), testing::HasSubstr("width of 5 bits"));
  EXPECT_THAT(error_of("random:2=x,4=50"), testing::HasSubstr("'2=x'"));
  EXPECT_THAT(error_of("random:2=nan"), testing::HasSubstr("'2=nan'"));
  EXPECT_THAT(error_of("random:2=-1,4=101"), testing::HasSubstr("'2=-1'"));
  EXPECT_THAT(error_of("random:2=100:seven"), testing::HasSubstr("seed 'seven'"));
}

TEST(FixedPolicy, GivesKeysAndValuesTheirOwnWidth) {
  const auto policy = parse("k3v2", {});
  const auto widths = choose(*policy, block_at(0, 32));
  EXPECT_THAT(widths.k, testing::Each(Width::k3));
  EXPECT_THAT(widths.v, testing::Each(Width::k2));
}

TEST(RatedPolicy, RatesByAttentionAndNormWhereThePolicyKnowsNoSensitivity) {
  // 2 tokens, 2 KV heads, 2 query heads each.
  const std::vector<float> received = {0.1F, 0.2F, 0.3F, 0.4F, 1, 2, 3, 4};
  const std::vector<float> k_norm2 = {10, 20, 30, 40};
  const std::vector<float> v_norm2 = {1, 2, 3, 0};
  kv::LeavingBlock block;
  block.n_tokens = 2;
  block.n_heads = 4;
  block.n_kv_heads = 2;
  block.received = received;
  block.k_norm2 = k_norm2;
  block.v_norm2 = v_norm2;
  kv::BlockWidths widths;
  widths.k = widths.v = std::vector<kv::Width>(4, kv::Width::k16);
  widths.k_rating = widths.v_rating = std::vector<std::uint8_t>(4);
  Fixed fixed(kv::Width::k8, kv::Width::k4);
  Rated rated(fixed);
  EXPECT_TRUE(rated.wants_received() && rated.wants_norms());
  rated.choose(block, widths);
  EXPECT_EQ(widths.k, std::vector<kv::Width>(4, kv::Width::k8));
  const auto rating = [](double x) { return kv::rating_of(static_cast<float>(std::log(x))); };
  // [n_kv_heads, n_tokens]
  EXPECT_THAT(widths.k_rating,
              testing::ElementsAre(rating(0.3 * 10), rating(3 * 30), rating(0.7 * 20), rating(7 * 40)));
  EXPECT_THAT(widths.v_rating,
              testing::ElementsAre(rating(0.3), rating(3 * 3), rating(0.7 * 2), rating(7e-10)));
}

TEST(RandomPolicy, DrawsWidthsInTheGivenShares) {
  const Random policy("1=45,2=15,3=15,4=18,8=7:3");
  constexpr std::array<double, kv::kWidthCount> kShares = {0.45, 0.15, 0.15, 0.18, 0.07, 0};
  constexpr std::size_t kDraws = 40000;
  std::array<std::size_t, kv::kWidthCount> counts{};
  for (std::size_t i = 0; i < kDraws; ++i) {
    ++counts[static_cast<std::size_t>(policy.draw(i % 30, i % 3, i % 2, i))];
  }
  for (std::size_t w = 0; w < kv::kWidthCount; ++w) {
    // Five standard deviations of a binomial share.
    const double bound = 5 * std::sqrt(kShares[w] * (1 - kShares[w]) / kDraws);
    EXPECT_NEAR(static_cast<double>(counts[w]) / kDraws, kShares[w], bound) << "width index " << w;
  }
}

TEST(RandomPolicy, WidthsDependOnWhereNotOnTheOrderOfCalls) {
  Random policy("1=25,2=25,4=25,8=25:9");
  const auto whole = choose(policy, block_at(1, 64));
  for (std::size_t i = kTokens; i-- > 0;) {
    const auto one = choose(policy, block_at(1, 64 + i, 1));
    for (std::size_t head = 0; head < kHeads; ++head) {
      EXPECT_EQ(one.k[head], whole.k[head * kTokens + i]);
      EXPECT_EQ(one.v[head], whole.v[head * kTokens + i]);
    }
  }
}

TEST(RandomPolicy, SeedLayerHeadAndSideEachChangeTheDraws) {
  const Random policy("2=50,4=50:1");
  const Random other("2=50,4=50:2");
  std::array<int, 4> differing{};
  for (std::size_t position = 0; position < 64; ++position) {
    const Width here = policy.draw(3, 1, 0, position);
    differing[0] += here != other.draw(3, 1, 0, position);
    differing[1] += here != policy.draw(4, 1, 0, position);
    differing[2] += here != policy.draw(3, 0, 0, position);
    differing[3] += here != policy.draw(3, 1, 1, position);
  }
  EXPECT_THAT(differing,
              testing::Each(testing::AllOf(testing::Gt(12), testing::Lt(52))));  // 32 +- 5 deviations
}

TEST(RulePolicy, GivesMoreBitsForEachSignOfImportance) {
  const TokenSignals plain{.entropy = 1, .rarity = 2, .attention_variance = 0.001F, .confidence = 0.6F};
  EXPECT_EQ(Rule::width_of(plain, 99), Width::k2);
  TokenSignals signals = plain;
  signals.rarity = 8;
  EXPECT_EQ(Rule::width_of(signals, 99), Width::k4);
  signals.entropy = 5;
  EXPECT_EQ(Rule::width_of(signals, 99), Width::k8);
  signals.confidence = 0.1F;
  EXPECT_EQ(Rule::width_of(signals, 99), Width::k16);
  signals.attention_variance = 0.005F;  // times 100 keys
  EXPECT_EQ(Rule::width_of(signals, 99), Width::k16);
  TokenSignals peaked = plain;
  peaked.attention_variance = 0.005F;
  EXPECT_EQ(Rule::width_of(peaked, 99), Width::k4);
}

TEST(RulePolicy, UsesOneWidthForAllVectorsOfAToken) {
  SignalHistory history(kTokens, {.confidence = 0.9F});
  history[5].rarity = 9;
  const auto policy = parse("rule", history);
  const auto widths = choose(*policy, block_at(0, 4, kTokens - 4));
  for (std::size_t head = 0; head < kHeads; ++head) {
    for (std::size_t i = 0; i < kTokens - 4; ++i) {
      EXPECT_EQ(widths.k[head * (kTokens - 4) + i], i == 1 ? Width::k4 : Width::k2);
    }
  }
  EXPECT_EQ(widths.k, widths.v);
}

TEST(Rarity, FollowsTheSmoothedSelfInformationOfThePaper) {
  RarityCounter rarity;
  EXPECT_FLOAT_EQ(rarity.observe(7), 0.0F);                   // -ln(1 / 1)
  EXPECT_FLOAT_EQ(rarity.observe(7), std::log(3.0F / 2.0F));  // N = 1, U = 1, c = 1
  EXPECT_FLOAT_EQ(rarity.observe(8), std::log(4.0F));         // N = 2, U = 1, c = 0
  EXPECT_FLOAT_EQ(rarity.observe(8), std::log(6.0F / 2.0F));  // N = 3, U = 2, c = 1
}

TEST(LogitSignals, OfAUniformAndOfASurePrediction) {
  const std::vector<float> uniform(8, 3.0F);
  EXPECT_FLOAT_EQ(logit_signals(uniform).entropy, std::log(8.0F));
  EXPECT_FLOAT_EQ(logit_signals(uniform).confidence, 0.125F);
  const std::vector<float> two = {1000.0F, 1000.0F + std::log(3.0F), -1e9F};  // 1/4, 3/4, 0
  EXPECT_NEAR(logit_signals(two).confidence, 0.75, 1e-4);
  EXPECT_NEAR(logit_signals(two).entropy, std::log(4.0) - 0.75 * std::log(3.0), 1e-4);
}

TEST(Recorder, AveragesWidthsAndSignalsOverLayersAndHeads) {
  const auto policy = parse("k4v2", {});
  Recorder recorder(*policy, 2);
  const std::vector<float> received = {0.5F, 1.5F};
  const std::vector<float> squares = {0.25F, 0.75F};
  const std::vector<float> norms = {2.0F, 4.0F};
  for (std::size_t layer = 0; layer < 2; ++layer) {
    auto block = block_at(layer, 10, 1);
    block.received = received;
    block.received_sq = block.received_max = squares;
    block.k_norm2 = block.v_norm2 = norms;
    kv::BlockWidths widths{std::vector<Width>(kHeads), std::vector<Width>(kHeads)};
    recorder.choose(block, widths);
    EXPECT_THAT(widths.k, testing::Each(Width::k4));
  }
  const TokenRecord token = recorder.at(10);
  EXPECT_TRUE(token.left);
  EXPECT_FLOAT_EQ(token.bits, 3.0F);
  EXPECT_FLOAT_EQ(token.received, 1.0F);
  EXPECT_FLOAT_EQ(token.received_sq, 0.5F);
  EXPECT_FLOAT_EQ(token.received_max, 0.75F);
  EXPECT_FLOAT_EQ(token.k_norm2, 3.0F);
  EXPECT_FALSE(recorder.at(9).left);
  EXPECT_EQ(recorder.at(9).bits, 16.0F);
  EXPECT_FALSE(recorder.at(1000).left);
}

}  // namespace
}  // namespace miser::policy
