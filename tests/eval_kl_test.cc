// KL of logits, and KL and perplexity through the real cache.
#include "eval/kl.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "eval/kl_sums.h"
#include "eval_kl_bench.h"
#include "nn_targets.h"

namespace miser::eval {
namespace {

// From tests/reference/eval_kl.py (float64 NumPy).
struct KlCase {
  float size;
  double kl, partial, logprob;
  std::size_t top;
};
constexpr KlCase kCases[] = {
    {0.000244140625F, 9.847060363948724e-09, 3.659116275244326e-09, -21.765463081799542, 17753},
    {0.0078125F, 1.0083028996722102e-05, 9.738251559754514e-06, -21.77014606436819, 17753},
    {0.125F, 0.0025799530857675388, 0.002538271587010119, -21.84507432931563, 17753},
    {1.0F, 0.16007477673138393, 0.15765638747504296, -22.542845168144893, 45770},
    {8.0F, 5.196516774675214, 5.118615957204442, -31.901495287557907, 48812},
};
constexpr std::size_t kVocab = 49152;
constexpr std::int32_t kNext = 4321;
constexpr std::size_t kReferenceTop = 1074;

std::vector<float> made_up_reference() {
  std::vector<float> logits(kVocab);
  for (std::size_t i = 0; i < kVocab; ++i)
    logits[i] = static_cast<float>(static_cast<int>(i * 7919 % 1283) - 900) / 64;
  return logits;
}

std::vector<float> made_up_policy(const std::vector<float>& reference, float size) {
  std::vector<float> logits(kVocab);
  for (std::size_t i = 0; i < kVocab; ++i) {
    const float bump = static_cast<float>(static_cast<int>(i * 104729 % 2039) - 1019) / 1024;
    logits[i] = reference[i] + size * bump;
  }
  return logits;
}

TEST(Kl, EqualsFloat64NumPyFrom1e8To5Nats) {
  const auto reference = made_up_reference();
  std::vector<float> weights(kVocab);
  std::vector<float> scratch(kVocab);
  const ReferenceRow row = reference_row(reference, weights);
  EXPECT_EQ(row.top, kReferenceTop);
  nn::for_each_target([&] {
    for (const KlCase& c : kCases) {
      const TokenScore found = score(row, made_up_policy(reference, c.size), kNext, scratch);
      EXPECT_NEAR(found.kl, c.kl, 1e-5 * c.kl);
      EXPECT_NEAR(found.logprob, c.logprob, 1e-6);
      EXPECT_EQ(found.same_top, c.top == kReferenceTop);
    }
  });
}

TEST(Kl, CountsWhatThePolicyGivesToTokensThatTheReferenceRulesOut) {
  std::vector<float> reference(64, 0.0F);
  std::fill(reference.begin() + 32, reference.end(), -200.0F);
  std::vector<float> weights(64);
  std::vector<float> scratch(64);
  const ReferenceRow row = reference_row(reference, weights);
  ASSERT_EQ(weights[32], 0.0F);
  for (const float given : {0.0F, -4.6F}) {  // a half and 1 % of the probability
    std::vector<float> logits(64, 0.0F);
    std::fill(logits.begin() + 32, logits.end(), given);
    const double kl = std::log1p(std::exp(static_cast<double>(given)));
    const TokenScore found = score(row, logits, 0, scratch);
    EXPECT_NEAR(found.kl, kl, 1e-5 * kl);
    EXPECT_NEAR(found.logprob, -std::log(32.0) - kl, 1e-6);
  }
}

TEST(KlSums, OfEveryLengthEqualPlainSums) {
  const auto a = made_up_reference();
  const auto b = made_up_policy(a, 0.5F);
  constexpr double kShift = 0.1;
  std::vector<float> weights(70);
  std::vector<float> raised(70);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    weights[i] = 1 / (1.0F + static_cast<float>(i));
    raised[i] = weights[i] * static_cast<float>(std::exp(kShift - (a[i] - b[i])));
  }
  nn::for_each_target([&] {
    double difference = 0;
    double above = 0;
    for (std::size_t n = 0; n < weights.size(); ++n) {
      const auto first = [n](const std::vector<float>& x) { return std::span(x).first(n); };
      EXPECT_NEAR(sum_weighted_difference(first(weights), first(a), first(b)), difference, 1e-12);
      EXPECT_NEAR(sum_above_tangent(first(weights), first(raised), first(a), first(b), kShift), above,
                  1e-5 * above);
      const double d = static_cast<double>(a[n]) - static_cast<double>(b[n]);
      difference += static_cast<double>(weights[n]) * d;
      above += static_cast<double>(weights[n]) * (std::expm1(kShift - d) - (kShift - d));
    }
  });
}

TEST(Kl, OfEqualLogitsIsExactlyZero) {
  const auto reference = made_up_reference();
  std::vector<float> weights(kVocab);
  std::vector<float> scratch(kVocab);
  const TokenScore found = score(reference_row(reference, weights), reference, kNext, scratch);
  EXPECT_EQ(found.kl, 0.0);
  EXPECT_TRUE(found.same_top);
}

TEST(Kl, IsFiniteWhereTheReferencesProbabilityUnderflows) {
  // ln(p0 / q0) with p0 = 1 - 2e-131, q0 = e^-300 / (1 + e^-300): 300 nats.
  const std::vector<float> reference = {300, 0, 0};
  const std::vector<float> policy = {0, 300, 0};
  std::vector<float> weights(3);
  std::vector<float> scratch(3);
  EXPECT_NEAR(score(reference_row(reference, weights), policy, 1, scratch).kl, 300.0, 1e-9);
}

TEST(Kl, LeavesOutTokensBelowTheFloorOfAPartialReference) {
  const auto reference = made_up_reference();
  std::vector<float> log_probs(kVocab);
  double sum = 0;
  for (const float logit : reference) sum += std::exp(static_cast<double>(logit));
  for (std::size_t i = 0; i < kVocab; ++i)
    log_probs[i] = static_cast<float>(static_cast<double>(reference[i]) - std::log(sum));
  std::vector<float> weights(kVocab);
  std::vector<float> scratch(kVocab);
  const ReferenceRow row = partial_reference_row(log_probs, -12, weights);
  EXPECT_EQ(row.top, kReferenceTop);
  for (const KlCase& c : kCases) {
    // Log-probabilities rounded to float are off by up to 5e-7, of either sign.
    const TokenScore found = score(row, made_up_policy(reference, c.size), kNext, scratch);
    EXPECT_NEAR(found.kl, c.partial, 2e-7 + 1e-5 * c.partial);
  }
}

/// Log-probabilities in long double, the plainest way.
std::vector<long double> log_softmax(std::span<const float> logits) {
  long double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<long double>(logit));
  std::vector<long double> out;
  for (const float logit : logits) out.push_back(static_cast<long double>(logit) - std::log(sum));
  return out;
}

struct Plain {
  std::vector<double> kl;
  std::vector<double> logprob;
};

/// The definition, from logits [n, n_vocab] of both, for positions from `skip` on.
Plain plain_scores(std::span<const float> reference, std::span<const float> policy,
                   std::span<const std::int32_t> tokens, std::size_t skip) {
  const std::size_t n_vocab = reference.size() / tokens.size();
  Plain out;
  for (std::size_t t = skip; t + 1 < tokens.size(); ++t) {
    const auto p = log_softmax(reference.subspan(t * n_vocab, n_vocab));
    const auto q = log_softmax(policy.subspan(t * n_vocab, n_vocab));
    long double kl = 0;
    for (std::size_t i = 0; i < n_vocab; ++i) kl += std::exp(p[i]) * (p[i] - q[i]);
    out.kl.push_back(static_cast<double>(kl));
    out.logprob.push_back(static_cast<double>(q[static_cast<std::size_t>(tokens[t + 1])]));
  }
  return out;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double mean(const std::vector<float>& values) {
  return mean(std::vector<double>(values.begin(), values.end()));
}

TEST(KlRun, KlAndPerplexityThroughTheCacheEqualThoseOfNumPysLogits) {
  Bench bench("f32_long");
  const auto& runs = bench.fixture.runs;
  ASSERT_EQ(runs[0].kv, "f16");
  constexpr std::size_t kSkip = 150;
  std::vector<std::string> kv;
  for (const auto& run : runs) kv.push_back(run.kv);
  const auto record = bench.run(kv, kSkip).run(0, 0, bench.fixture.tokens, go_on);
  ASSERT_EQ(record->arms.size(), runs.size());
  const auto reference = bench.fixture.array(runs[0], "logits").values;
  for (std::size_t arm = 0; arm < runs.size(); ++arm) {
    SCOPED_TRACE(kv[arm]);
    const Plain expected =
        plain_scores(reference, bench.fixture.array(runs[arm], "logits").values, bench.fixture.tokens, kSkip);
    const ArmScores& found = record->arms[arm];
    ASSERT_EQ(found.kl.size(), expected.kl.size());
    // Roundings that fall the other way in float move single positions (tests/compare.h), means hardly.
    EXPECT_NEAR(mean(found.kl), mean(expected.kl), 0.01 * mean(expected.kl));
    EXPECT_NEAR(mean(found.logprob), mean(expected.logprob), 2e-5 + 0.01 * mean(expected.kl));
  }
  EXPECT_GT(mean(record->arms[1].kl), 1e-5) << "q4 must differ, or nothing was tested";
}

TEST(KlRun, BlocksEqualTokenByToken) {
  Bench bench("f32_long");
  constexpr std::size_t kLength = 300;
  constexpr std::size_t kSkip = 77;  // no multiple of a chunk
  const std::vector<std::string> kv = {"f16", "q2", "rule"};
  const auto tokens = bench.context(0, kLength);
  const auto record = bench.run(kv, kSkip).run(0, 0, tokens, go_on);
  std::vector<std::vector<float>> logits;
  for (const std::string& policy : kv) {
    SessionOptions options;
    options.kv = policy;
    Session session(bench.model, bench.pool, options);
    auto& all = logits.emplace_back();
    for (const std::int32_t& token : tokens) {
      const auto row = session.feed({&token, 1});
      all.insert(all.end(), row.begin(), row.end());
    }
  }
  for (std::size_t arm = 0; arm < kv.size(); ++arm) {
    SCOPED_TRACE(kv[arm]);
    const Plain expected = plain_scores(logits[0], logits[arm], tokens, kSkip);
    const ArmScores& found = record->arms[arm];
    ASSERT_EQ(found.kl.size(), expected.kl.size());
    EXPECT_NEAR(mean(found.kl), mean(expected.kl), 0.01 * mean(expected.kl));
    EXPECT_NEAR(mean(found.logprob), mean(expected.logprob), 2e-5 + 0.01 * mean(expected.kl));
  }
  EXPECT_EQ(record->ids, std::vector<std::int32_t>(tokens.begin() + kSkip + 1, tokens.end()));
}

}  // namespace
}  // namespace miser::eval
