// The forward pass against the independent NumPy passes of tests/make_tiny_models.py.
#include "model/model.h"

#include <gtest/gtest.h>

#include "compare.h"
#include "nn/matrix.h"
#include "nn/thread_pool.h"
#include "session/session.h"
#include "tiny_model.h"

namespace miser {
namespace {

using test::all_logits;
using test::difference;
using test::TinyModel;
using test::TinyRun;

std::vector<float> logits_of(const TinyModel& tiny, const SessionOptions& options) {
  const Model model = Model::load(tiny.path);
  nn::ThreadPool pool(2);
  Session session(model, pool, options);
  return all_logits(session, tiny.tokens);
}

const TinyRun& f16_run(const TinyModel& tiny) {
  return *std::find_if(tiny.runs.begin(), tiny.runs.end(),
                       [](const TinyRun& run) { return run.kv == "f16"; });
}

TEST(Model, LogitsThroughTheF16CacheEqualNumPy) {
  for (const TinyModel& tiny : test::tiny_models()) {
    const TinyRun& run = f16_run(tiny);
    SCOPED_TRACE(tiny.describe(run));
    const auto reference = tiny.array(run, "logits").values;
    // What rounding all of K and V to binary16 does to the logits. Float errors flip some of these roundings,
    // so all flips together do less; what they leave alone differs by float rounding, which is finer by
    // 2^-13, or where products round x to 16 bits (nn/inputs.h) by 2^-5, which flips more.
    const auto rounding = difference(reference, tiny.exact_logits().values);
    const auto found = difference(logits_of(tiny, tiny.options(run)), reference);
    const double times = nn::rounds_inputs(tiny.tokens.size()) ? 4 : 1;
    EXPECT_LT(found.median, times * 0.2 * rounding.median);
    EXPECT_LT(found.p99, times * 0.3 * rounding.p99);
    EXPECT_LT(found.max, times * 0.6 * rounding.max);
  }
}

TEST(Model, LogitsThroughTheQuantisedCacheEqualNumPy) {
  for (const TinyModel& tiny : test::tiny_models()) {
    const auto exact = tiny.exact_logits().values;
    const auto rounding = difference(tiny.array(f16_run(tiny), "logits").values, exact);
    for (const TinyRun& run : tiny.runs) {
      if (run.kv == "f16") continue;
      SCOPED_TRACE(tiny.describe(run));
      const auto reference = tiny.array(run, "logits").values;
      // A code flip is rare, and adds at most one more error of the kind that every element has already.
      const auto quantising = difference(reference, exact);
      const auto found = difference(logits_of(tiny, tiny.options(run)), reference);
      // Decoding rounds queries to 16 bits. Under the rule a code of 2 bits flips early, which depends on the
      // CPU: noise of 1e-6 in the embeddings moves NumPy's own logits by up to 3.3 times the rounding.
      // Products that round x to 16 bits flip codes of other policies too.
      const bool rounds = nn::rounds_inputs(tiny.tokens.size());
      const double flip = (rounds ? 0.05 : run.kv == "rule" ? 0.02 : 0) * quantising.median;
      EXPECT_LT(found.median, std::max(2.5 * rounding.median, flip));
      EXPECT_LT(found.p99, (rounds ? 0.15 : 0.1) * quantising.p99);
      EXPECT_LT(found.max, 0.5 * quantising.max);
    }
  }
}

TEST(Model, EveryPolicyIsExactWhileAllTokensAreStaged) {
  for (const TinyModel& tiny : test::tiny_models()) {
    SCOPED_TRACE(tiny.name);
    SessionOptions options;
    options.kv = "f16";
    const auto packed = logits_of(tiny, options);
    options.kv = "q1";
    options.kv_window = tiny.tokens.size();
    const auto staged = logits_of(tiny, options);
    const auto rounding = difference(tiny.array(f16_run(tiny), "logits").values, tiny.exact_logits().values);
    const auto found = difference(staged, packed);
    EXPECT_LT(found.median, 0.2 * rounding.median);
    EXPECT_LT(found.p99, 0.3 * rounding.p99);
    EXPECT_LT(found.max, 0.6 * rounding.max);
  }
}

TEST(Model, LogitsDoNotDependOnThreads) {
  const TinyModel tiny = std::move(test::tiny_models().front());  // the longest
  const Model model = Model::load(tiny.path);
  std::vector<std::vector<float>> logits;
  for (const int threads : {1, 2, 5}) {
    nn::ThreadPool pool(threads);
    Session session(model, pool, tiny.options(tiny.runs.back()));
    logits.push_back(all_logits(session, tiny.tokens));
  }
  EXPECT_EQ(logits[0], logits[1]);
  EXPECT_EQ(logits[0], logits[2]);
}

TEST(Model, LastLogitsEqualAllLogits) {
  for (const TinyModel& tiny : test::tiny_models()) {
    SCOPED_TRACE(tiny.name);
    const Model model = Model::load(tiny.path);
    nn::ThreadPool pool(2);
    Session session(model, pool, tiny.options(f16_run(tiny)));
    const auto all = all_logits(session, tiny.tokens);
    session.clear();
    const auto last = session.feed(tiny.tokens);
    // One output row is computed by another kernel than many, which rounds x to 16 bits (nn/inputs.h).
    const auto found = difference(last, std::span(all).last(last.size()));
    EXPECT_LT(found.max, 5e-4);
  }
}

}  // namespace
}  // namespace miser
