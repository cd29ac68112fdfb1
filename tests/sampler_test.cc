#include "session/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "base/error.h"

namespace miser {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Nothing but temperature 1.
SamplingOptions plain() {
  SamplingOptions options;
  options.temperature = 1;
  options.top_k = 0;
  options.top_p = 1;
  options.min_p = 0;
  return options;
}

SamplingOptions greedy() {
  SamplingOptions options;
  options.temperature = 0;
  return options;
}

std::map<std::int32_t, int> draw(const SamplingOptions& options, const std::vector<float>& logits, int n) {
  Sampler sampler(options);
  std::map<std::int32_t, int> counts;
  for (int i = 0; i < n; ++i) ++counts[sampler.sample(logits, {})];
  return counts;
}

std::set<std::int32_t> drawn(const SamplingOptions& options, const std::vector<float>& logits) {
  std::set<std::int32_t> ids;
  for (const auto& [id, count] : draw(options, logits, 20000)) ids.insert(id);
  return ids;
}

std::vector<float> logs(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)) + 7);
  return logits;
}

TEST(Sampler, GreedyTakesTheLargestLogitAndOfEqualOnesTheFirst) {
  Sampler sampler(greedy());
  EXPECT_EQ(sampler.sample(std::vector<float>{-3, 2, 5, 5, -kInfinity}, {}), 2);
}

TEST(Sampler, DrawsInProportionToSoftmaxAtTheTemperature) {
  const std::vector<double> p = {0.1, 0.6, 0.3};
  for (const float temperature : {0.5F, 1.0F, 2.0F}) {
    SamplingOptions options = plain();
    options.temperature = temperature;
    double total = 0;
    for (const double x : p) total += std::pow(x, 1 / temperature);
    constexpr int kDraws = 100000;
    const auto counts = draw(options, logs(p), kDraws);
    for (int id = 0; id < 3; ++id) {
      const double expected = std::pow(p[static_cast<std::size_t>(id)], 1 / temperature) / total;
      const double sigma = std::sqrt(kDraws * expected * (1 - expected));  // of a binomial count
      EXPECT_NEAR(counts.at(id), kDraws * expected, 5 * sigma) << "id " << id << " at " << temperature;
    }
  }
}

// By a Python program with its own mt19937_64 (checked against the 10,000th value that the C++ standard
// gives).
TEST(Sampler, DrawsTheSameTokensOnEveryPlatform) {
  SamplingOptions options = plain();
  options.temperature = 0.8F;
  options.seed = 42;
  Sampler sampler(options);
  const std::vector<float> logits = {1.0F, 2.0F, 0.5F, -1.0F, 1.5F, 0.0F, -2.0F, 3.0F};
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 20; ++i) ids.push_back(sampler.sample(logits, {}));
  EXPECT_THAT(ids, ElementsAre(1, 1, 1, 7, 0, 7, 7, 7, 7, 7, 7, 7, 1, 1, 4, 0, 1, 7, 7, 7));
}

TEST(Sampler, TopKKeepsTheKLargest) {
  SamplingOptions options = plain();
  options.top_k = 2;
  EXPECT_THAT(drawn(options, logs({0.2, 0.3, 0.1, 0.4})), ElementsAre(1, 3));
  options.top_k = 9;
  EXPECT_THAT(drawn(options, logs({0.2, 0.3, 0.1, 0.4})), ElementsAre(0, 1, 2, 3));
}

TEST(Sampler, TopPKeepsTheFewestThatReachTheShare) {
  SamplingOptions options = plain();
  options.top_p = 0.65F;
  EXPECT_THAT(drawn(options, logs({0.2, 0.3, 0.1, 0.4})), ElementsAre(1, 3));
  options.top_p = 0.75F;
  EXPECT_THAT(drawn(options, logs({0.2, 0.3, 0.1, 0.4})), ElementsAre(0, 1, 3));
  options.top_p = 0;
  EXPECT_THAT(drawn(options, logs({0.2, 0.3, 0.1, 0.4})), ElementsAre(3));
}

TEST(Sampler, MinPKeepsThoseThatAreNotMuchLessLikelyThanTheFirst) {
  SamplingOptions options = plain();
  options.min_p = 0.45F;
  EXPECT_THAT(drawn(options, logs({0.2, 0.3, 0.1, 0.4})), ElementsAre(0, 1, 3));
  options.min_p = 1;
  EXPECT_THAT(drawn(options, logs({0.2, 0.3, 0.1, 0.4})), ElementsAre(3));
}

TEST(Sampler, TopPCountsWhatTopKLeft) {
  SamplingOptions options = plain();
  options.top_k = 2;  // leaves 4/7 and 3/7
  options.top_p = 0.55F;
  EXPECT_THAT(drawn(options, logs({0.2, 0.3, 0.1, 0.4})), ElementsAre(3));
}

TEST(Sampler, TopPAndMinPComeBeforeTheTemperature) {
  SamplingOptions options = plain();
  options.temperature = 5;  // makes all alike
  options.top_p = 0.65F;
  EXPECT_THAT(drawn(options, logs({0.2, 0.3, 0.1, 0.4})), ElementsAre(1, 3));
  options.top_p = 1;
  options.min_p = 0.45F;
  EXPECT_THAT(drawn(options, logs({0.2, 0.3, 0.1, 0.4})), ElementsAre(0, 1, 3));
}

TEST(Sampler, PenaltyDividesPositiveAndMultipliesNegativeLogits) {
  SamplingOptions options = greedy();
  options.repeat_penalty = 2;
  const std::vector<std::int32_t> recent = {0, 0, 0};  // counts once
  EXPECT_EQ(Sampler(options).sample(std::vector<float>{4.0F, 2.1F}, recent), 1);
  EXPECT_EQ(Sampler(options).sample(std::vector<float>{4.0F, 1.9F}, recent), 0);
  EXPECT_EQ(Sampler(options).sample(std::vector<float>{-1.0F, -1.9F}, recent), 1);
  EXPECT_EQ(Sampler(options).sample(std::vector<float>{-1.0F, -2.1F}, recent), 0);
}

TEST(Sampler, PenaltyLooksBackOnTheLastNTokens) {
  SamplingOptions options = greedy();
  options.repeat_penalty = 2;
  options.repeat_last_n = 2;
  const std::vector<float> logits = {4, 3, 1};
  EXPECT_EQ(Sampler(options).sample(logits, std::vector<std::int32_t>{0, 2, 2}), 0);
  EXPECT_EQ(Sampler(options).sample(logits, std::vector<std::int32_t>{2, 0, 2}), 1);
  options.repeat_last_n = -1;
  EXPECT_EQ(Sampler(options).sample(logits, std::vector<std::int32_t>{0, 2, 2}), 1);
  options.repeat_last_n = 0;
  EXPECT_EQ(Sampler(options).sample(logits, std::vector<std::int32_t>{0, 0, 0}), 0);
}

TEST(Sampler, NeverDrawsABannedToken) {
  const std::vector<std::int32_t> banned = {1};
  EXPECT_EQ(Sampler(greedy()).sample(std::vector<float>{1, 9, 2}, {}, banned), 2);
  Sampler sampler(plain());
  for (int i = 0; i < 1000; ++i) EXPECT_NE(sampler.sample(std::vector<float>{1, 9, 2}, {}, banned), 1);
}

TEST(Sampler, RejectsLogitsThatAreNoNumbers) {
  const auto sample = [](std::vector<float> logits) { return Sampler(plain()).sample(logits, {}); };
  EXPECT_THROW(sample({1, kNan, 2}), Error);
  EXPECT_THROW(sample({-kInfinity, -kInfinity}), Error);
  EXPECT_THROW(sample({1, kInfinity}), Error);
  EXPECT_EQ(sample({-kInfinity, 1}), 1);
}

TEST(Sampler, RejectsOptionsOutOfRange) {
  const auto with = [](auto member, auto value) {
    return [member, value] {
      SamplingOptions options;
      options.*member = value;
      Sampler sampler(options);
    };
  };
  using Options = SamplingOptions;
  EXPECT_THAT(with(&Options::temperature, kNan), ThrowsMessage<UsageError>(HasSubstr("--temp")));
  EXPECT_THAT(with(&Options::temperature, -1.0F), ThrowsMessage<UsageError>(HasSubstr("--temp")));
  EXPECT_THAT(with(&Options::temperature, kInfinity), ThrowsMessage<UsageError>(HasSubstr("--temp")));
  EXPECT_THAT(with(&Options::top_k, -1), ThrowsMessage<UsageError>(HasSubstr("--top-k")));
  EXPECT_THAT(with(&Options::top_p, 1.1F), ThrowsMessage<UsageError>(HasSubstr("--top-p")));
  EXPECT_THAT(with(&Options::top_p, kNan), ThrowsMessage<UsageError>(HasSubstr("--top-p")));
  EXPECT_THAT(with(&Options::min_p, -0.1F), ThrowsMessage<UsageError>(HasSubstr("--min-p")));
  EXPECT_THAT(with(&Options::repeat_penalty, 0.0F), ThrowsMessage<UsageError>(HasSubstr("--repeat-penalty")));
  EXPECT_THAT(with(&Options::repeat_last_n, -2), ThrowsMessage<UsageError>(HasSubstr("--repeat-last-n")));
}

}  // namespace
}  // namespace miser
