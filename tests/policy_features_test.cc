#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "policy/features.h"
#include "policy/replay.h"
#include "policy/unturned_keys.h"

namespace miser::policy {
namespace {

/// Two tokens of a layer with 4 query heads, 2 KV heads and head vectors of 2.
struct Example {
  std::vector<float> received = {1, 3, 0.5F, 0.5F, 0, 0, 2, 6};
  std::vector<float> received_sq = {0.25F, 0.5F, 0, 4};
  std::vector<float> received_max = {0.5F, 0.75F, 0, 1};
  std::vector<float> below = {-1, -2};
  std::vector<float> k_norm2 = {25, 1, 1, 4};
  std::vector<float> v_norm2 = {2, 4, 0.25F, 5};
  std::vector<float> k = {3, 4, 0, 0, 1, 0, 0, 2};
  std::vector<float> v = {1, 1, 2, 0, 0, 0.5F, 1, 2};

  SignalSource source() const {
    SignalSource source;
    source.n = 2;
    source.n_heads = 4;
    source.n_kv_heads = 2;
    source.head_dim = 2;
    source.first_position = 9;
    source.received = received;
    source.received_sq = received_sq;
    source.received_max = received_max;
    source.received_below = below;
    source.k_norm2 = k_norm2;
    source.v_norm2 = v_norm2;
    source.k = k;
    source.v = v;
    return source;
  }
};

std::vector<float> compute(std::vector<std::string> names) {
  const Example example;
  const SignalSet set(std::move(names), 2, 2);
  std::vector<float> out(4 * set.columns());
  set.compute(example.source(), out);
  return out;
}

const float kFloor = std::log(1e-10F);

TEST(SignalSet, TakesLogarithmsOfMeansOverTheGroup) {
  using testing::FloatEq;
  EXPECT_THAT(compute({"received"}), testing::ElementsAre(FloatEq(std::log(2.0F)), FloatEq(std::log(0.5F)),
                                                          FloatEq(kFloor), FloatEq(std::log(4.0F))));
  EXPECT_THAT(compute({"received_sq"}),
              testing::ElementsAre(FloatEq(std::log(0.25F)), FloatEq(std::log(0.5F)), FloatEq(kFloor),
                                   FloatEq(std::log(4.0F))));
}

TEST(SignalSet, SharesTheMeanOfTheLayerAmongItsHeads) {
  const float first = (std::log(2.0F) + std::log(0.5F)) / 2;
  const float second = (kFloor + std::log(4.0F)) / 2;
  using testing::FloatEq;
  EXPECT_THAT(
      compute({"received_layer", "received_below"}),
      testing::ElementsAre(FloatEq(first), -1, FloatEq(first), -1, FloatEq(second), -2, FloatEq(second), -2));
  std::vector<float> layer(2);
  mean_log_received(Example().source(), layer);
  EXPECT_THAT(layer, testing::ElementsAre(FloatEq(first), FloatEq(second)));
}

TEST(SignalSet, SumsTheSquaresOfThePairsOfAKey) {
  EXPECT_THAT(compute({"k_pairs"}), testing::ElementsAre(25, 0, 1, 4));
}

TEST(SignalSet, PutsColumnsInTheOrderOfTheNames) {
  using testing::FloatEq;
  const SignalSet set({"v", "position", "received_heads", "k_norm2", "k"}, 2, 2);
  EXPECT_EQ(set.columns(), 8U);
  const auto all = compute({"v", "position", "received_heads", "k_norm2", "k"});
  EXPECT_THAT(std::vector<float>(all.begin(), all.begin() + 8),
              testing::ElementsAre(1, 1, FloatEq(std::log(10.0F)), 0, FloatEq(std::log(3.0F)),
                                   FloatEq(std::log(25.0F)), 3, 4));
  EXPECT_THAT(std::vector<float>(all.end() - 8, all.end()),
              testing::ElementsAre(1, 2, FloatEq(std::log(11.0F)), FloatEq(std::log(2.0F)),
                                   FloatEq(std::log(6.0F)), FloatEq(std::log(4.0F)), 0, 2));
}

TEST(SignalSet, SaysWhatItReads) {
  const SignalSet received({"received_max"}, 2, 2);
  EXPECT_TRUE(received.wants_received());
  EXPECT_FALSE(received.wants_norms());
  EXPECT_FALSE(received.wants_vectors());
  const SignalSet norms({"position", "v_norm2"}, 2, 2);
  EXPECT_FALSE(norms.wants_received());
  EXPECT_TRUE(norms.wants_norms());
  EXPECT_FALSE(norms.wants_vectors());
  EXPECT_TRUE(SignalSet({"k_pairs"}, 2, 2).wants_vectors());
}

// R(-t) R(t) = 1 for the turned pairs; the others and positions far on are as exact as binary32 angles allow.
TEST(UnturnedKeys, AreTheSameAtEveryPosition) {
  constexpr std::size_t kHeads = 3;
  constexpr std::size_t kHeadDim = 6;
  const std::vector<float> frequencies = {1, 0.03F};
  UnturnedKeys unturned(frequencies);
  for (const std::size_t first : {0, 5, 1023, 100'000}) {
    std::vector<float> keys;
    std::vector<float> expected;
    for (std::size_t t = first; t < first + 4; ++t) {
      for (std::size_t i = 0; i < kHeads * kHeadDim; ++i) expected.push_back(static_cast<float>(i + 1));
      for (std::size_t h = 0; h < kHeads; ++h) {
        for (std::size_t pair = 0; pair < kHeadDim / 2; ++pair) {
          const double x = static_cast<double>(h * kHeadDim + 2 * pair + 1);
          const double angle = pair < 2 ? static_cast<double>(t) * static_cast<double>(frequencies[pair]) : 0;
          keys.push_back(static_cast<float>(x * std::cos(angle) - (x + 1) * std::sin(angle)));
          keys.push_back(static_cast<float>(x * std::sin(angle) + (x + 1) * std::cos(angle)));
        }
      }
    }
    unturned.turn_back(keys, kHeads, kHeadDim, first);
    EXPECT_THAT(keys, testing::Pointwise(testing::FloatNear(1e-5F), expected)) << first;
  }
}

TEST(UnturnedKeys, StayAsTheyAreWithoutFrequencies) {
  std::vector<float> keys = {1, 2, 3, 4};
  UnturnedKeys({}).turn_back(keys, 1, 4, 7);
  EXPECT_THAT(keys, testing::ElementsAre(1, 2, 3, 4));
}

TEST(SignalSet, UnknownSignalIsNamedBesideTheKnown) {
  try {
    SignalSet({"received", "mood"}, 2, 2);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::AllOf(testing::HasSubstr("'mood'"), testing::HasSubstr("k_norm2")));
  }
}

TEST(Replay, GivesBackTheWidthsThatWereNoted) {
  using kv::Width;
  constexpr std::size_t kTokens = 8;
  kv::LeavingBlock block;
  block.layer = 1;
  block.first_position = 4;
  block.n_tokens = 4;
  block.n_kv_heads = 2;
  const kv::BlockWidths empty{std::vector<Width>(8, Width::k16), std::vector<Width>(8, Width::k16)};
  const auto table = std::make_shared<WidthTable>(2, kTokens, 2);
  NoteWidths note(parse("random:1=25,2=25,4=25,8=25:5", {}), *table);
  kv::BlockWidths chosen = empty;
  note.choose(block, chosen);
  EXPECT_EQ(table->at(0, 1, 5, 1), chosen.k[4 + 1]);
  EXPECT_EQ(table->at(0, 0, 5, 1), Width::k16);  // another layer

  kv::BlockWidths replayed = empty;
  Replay(table).choose(block, replayed);
  EXPECT_EQ(replayed.k, chosen.k);
  EXPECT_EQ(replayed.v, chosen.v);
}

}  // namespace
}  // namespace miser::policy
