// Fisher sensitivities against an independent NumPy pass that takes no gradient by hand
// (tests/make_fisher.py), and what else a trace holds against the references of the cache.
#include "learn/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "compare.h"
#include "learn/trace_file.h"
#include "learn/trace_steps.h"
#include "nn/matrix.h"
#include "nn/ops.h"
#include "temporary_folder.h"
#include "tiny_model.h"

namespace miser::learn {
namespace {

using ::testing::HasSubstr;

/// A vector of a tiny model and what NumPy says of it.
struct ReferenceVector {
  std::size_t side, layer, token, head;
  double fisher;      ///< mean |g|^2 of the given draws
  double divergence;  ///< E |g|^2 over the model's own draws, by brute force
};

struct Case {
  explicit Case(const nlohmann::json& entry);

  std::string name;
  std::string path;
  TraceOptions options;
  std::vector<std::int32_t> tokens;
  std::vector<std::vector<std::int32_t>> y;  ///< [n][n_samples]
  std::vector<ReferenceVector> vectors;
};

Case::Case(const nlohmann::json& entry)
    : name(entry.at("name")),
      path(MISER_FIXTURES "/fisher/" + entry.at("file").get<std::string>()),
      tokens(entry.at("tokens").get<std::vector<std::int32_t>>()),
      y(entry.at("y").get<std::vector<std::vector<std::int32_t>>>()) {
  options.window = entry.at("window");
  options.block = entry.at("block");
  options.sinks = 0;
  options.n_samples = y[0].size();
  for (const auto& v : entry.at("vectors"))
    vectors.push_back(
        {v.at("side"), v.at("layer"), v.at("token"), v.at("head"), v.at("fisher"), v.at("divergence")});
}

std::vector<Case> cases() {
  std::ifstream file(MISER_FIXTURES "/fisher/index.json");
  if (!file)
    throw std::runtime_error("no fixtures in " MISER_FIXTURES "/fisher: run ./dev test, which makes them");
  std::vector<Case> all;
  for (const auto& entry : nlohmann::json::parse(file)) all.emplace_back(entry);
  return all;
}

double fisher_of(const Trace& t, const ReferenceVector& v) {
  return t.fisher[((v.side * t.n_layers + v.layer) * t.n + v.token - t.first) * t.n_kv_heads + v.head];
}

TEST(TraceTest, FisherOfGivenDrawsIsThatOfTheReference) {
  nn::ThreadPool pool(2);
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    const Model model = Model::load(c.path);
    const Trace t = trace_draws(model, pool, c.tokens, c.options,
                                [&](std::size_t position, std::span<const float>, std::span<std::int32_t> y) {
                                  std::ranges::copy(c.y[position], y.begin());
                                });
    for (const ReferenceVector& v : c.vectors) {
      // Float rounding of a sum over positions whose terms nearly cancel; a wrong term moves it by per cents.
      EXPECT_NEAR(fisher_of(t, v), v.fisher, 1e-3 * v.fisher)
          << (v.side == 0 ? "K" : "V") << " of layer " << v.layer << ", token " << v.token << ", head "
          << v.head;
    }
  }
}

// E |g|^2 over the model's own draws is what small changes of the vector do to its distributions.
TEST(TraceTest, MeanOverDrawsIsTheDivergenceByBruteForce) {
  constexpr int kTraces = 24;
  nn::ThreadPool pool(2);
  double total = 0;
  double expected = 0;
  for (const Case& c : cases()) {
    if (c.name == "long") continue;  // saves time
    SCOPED_TRACE(c.name);
    const Model model = Model::load(c.path);
    std::vector<double> sum(c.vectors.size());
    std::vector<double> squares(c.vectors.size());
    TraceOptions options = c.options;
    options.n_samples = 8;
    for (options.seed = 1; options.seed <= kTraces; ++options.seed) {
      const Trace t = trace_context(model, pool, c.tokens, options);
      for (std::size_t i = 0; i < c.vectors.size(); ++i) {
        sum[i] += fisher_of(t, c.vectors[i]) / kTraces;
        squares[i] += std::pow(fisher_of(t, c.vectors[i]), 2) / kTraces;
      }
    }
    for (std::size_t i = 0; i < c.vectors.size(); ++i) {
      const double error = std::sqrt((squares[i] - sum[i] * sum[i]) / (kTraces - 1));
      EXPECT_NEAR(sum[i], c.vectors[i].divergence, 4 * error) << i;
      EXPECT_LT(error, 0.25 * c.vectors[i].divergence) << i;
      total += sum[i] / c.vectors[i].divergence;
      expected += 1;
    }
  }
  EXPECT_NEAR(total / expected, 1, 0.05);
}

/// Rows [first, first + n) of each layer of a reference array [n_layers, tokens, per_token].
std::vector<float> rows_of(const test::Array& array, std::size_t first, std::size_t n) {
  std::vector<float> rows;
  const std::size_t per_token = array.shape[2];
  for (std::size_t layer = 0; layer < array.shape[0]; ++layer) {
    const auto from = array.values.subspan((layer * array.shape[1] + first) * per_token, n * per_token);
    rows.insert(rows.end(), from.begin(), from.end());
  }
  return rows;
}

/// |x|^2 of binary16 rows [vectors, head_dim].
std::vector<float> norms(std::span<const std::uint16_t> rows, std::size_t head_dim) {
  std::vector<float> x(rows.size());
  nn::f16_to_f32(rows, x);
  std::vector<float> out(rows.size() / head_dim);
  for (std::size_t i = 0; i < x.size(); ++i) out[i / head_dim] += x[i] * x[i];
  return out;
}

TEST(TraceTest, SignalsAndRowsAreThoseOfTheReference) {
  nn::ThreadPool pool(2);
  for (const test::TinyModel& tiny : test::tiny_models()) {
    SCOPED_TRACE(tiny.name);
    const test::TinyRun& run = tiny.runs[0];
    ASSERT_EQ(run.kv, "f16");
    const Model model = Model::load(tiny.path);
    const Trace t =
        trace_context(model, pool, tiny.tokens, {.window = run.window, .block = run.block, .n_samples = 1});
    EXPECT_EQ(t.first, 4U);
    // Products that round x to 16 bits (nn/inputs.h) are 30 times as coarse as float sums.
    const double times = nn::rounds_inputs(tiny.tokens.size()) ? 6 : 1;
    const auto expect_near = [&](std::span<const float> found, const char* name, double scale) {
      const auto of = test::difference(found, rows_of(tiny.array(run, name), t.first, t.n));
      EXPECT_LT(of.median, times * 3e-5 * scale) << name;
      EXPECT_LT(of.p99, times * 1e-3 * scale) << name;
      EXPECT_LT(of.max, 5e-2 * scale) << name;
    };
    expect_near(t.received, "received", 1);
    expect_near(t.received_sq, "received_sq", 1);
    expect_near(t.received_max, "received_max", 1);
    expect_near(norms(t.k, t.head_dim), "k_norm2", 100);
    expect_near(norms(t.v, t.head_dim), "v_norm2", 100);
    const test::Array signals = tiny.array(run, "token_signals");
    const auto of = test::difference(t.token_signals, signals.values.subspan(4 * t.first, 4 * t.n));
    EXPECT_LT(of.p99, times * 1e-3);
    EXPECT_LT(of.max, 5e-2);
  }
}

TEST(TraceTest, SameSeedGivesTheSameBytesForAnyNumberOfThreads) {
  const Case c = cases().back();
  const Model model = Model::load(c.path);
  test::TemporaryFolder folder;
  std::vector<std::string> bytes;
  for (const int n_threads : {1, 2, 3}) {
    nn::ThreadPool pool(n_threads);
    const std::string path = folder.file(std::to_string(n_threads));
    write_trace(path, trace_context(model, pool, c.tokens, {}), "");
    std::ifstream file(path, std::ios::binary);
    bytes.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  EXPECT_TRUE(bytes[0] == bytes[1]);
  EXPECT_TRUE(bytes[0] == bytes[2]);
  nn::ThreadPool pool(2);
  EXPECT_NE(trace_context(model, pool, c.tokens, {}).fisher,
            trace_context(model, pool, c.tokens, {.seed = 2}).fisher);
}

TEST(TraceTest, FutureCountsTheQueriesThatReadATokenPacked) {
  const Case c = cases().front();
  const Model model = Model::load(c.path);
  nn::ThreadPool pool(1);
  for (const std::size_t block : {1U, 8U, 32U}) {
    const Trace t = trace_context(model, pool, c.tokens, {.window = 16, .block = block, .n_samples = 1});
    std::vector<float> expected;
    for (std::size_t token = 4; token < c.tokens.size(); ++token) {
      std::size_t n = 0;
      for (std::size_t query = 0; query < c.tokens.size(); ++query)
        n += token / block * block + block + 16 <= query;
      if (n > 0) expected.push_back(static_cast<float>(n));
    }
    EXPECT_EQ(t.future, expected);
    EXPECT_EQ(t.n, expected.size());
  }
}

TEST(TraceTest, ContextsThatCannotBeTracedAreErrors) {
  const Case c = cases().front();
  const Model model = Model::load(c.path);
  nn::ThreadPool pool(1);
  const auto error = [&](std::vector<std::int32_t> ids) {
    return test::error_of([&] { trace_context(model, pool, ids, {}); });
  };
  EXPECT_THAT(error({}), HasSubstr("0 tokens: expected at least 65"));
  EXPECT_THAT(error(std::vector<std::int32_t>(64, 5)), HasSubstr("64 tokens: expected at least 65"));
  EXPECT_EQ(error(std::vector<std::int32_t>(65, 5)), "no error");
  std::vector<std::int32_t> ids(65, 5);
  ids[3] = static_cast<std::int32_t>(model.config().n_vocab);
  EXPECT_THAT(error(ids), HasSubstr("token id: found 307, expected 0 to 306"));
  ids[3] = -1;
  EXPECT_THAT(error(ids), HasSubstr("token id: found -1"));
}

}  // namespace
}  // namespace miser::learn
