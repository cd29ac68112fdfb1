// Signals and widths of every token against the independent NumPy passes of tests/make_tiny_models.py.
#include "policy/signals.h"

#include <gtest/gtest.h>

#include "compare.h"
#include "model/forward.h"
#include "nn/matrix.h"
#include "policy/policy.h"
#include "tiny_model.h"

namespace miser {
namespace {

using test::difference;
using test::TinyModel;
using test::TinyRun;

/// Keeps what passes by a policy, in the layout of the reference: [n_layers, n_tokens, ...].
class Spy final : public kv::WidthChooser {
 public:
  Spy(policy::Policy& policy, std::size_t n_tokens) : policy_(policy), n_tokens_(n_tokens) {}

  bool wants_received() const override { return true; }
  bool wants_norms() const override { return true; }
  void choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) override {
    policy_.choose(block, widths);
    keep(block, block.received, received);
    keep(block, block.received_sq, received_sq);
    keep(block, block.received_max, received_max);
    keep(block, block.k_norm2, k_norm2);
    keep(block, block.v_norm2, v_norm2);
    n_left = std::max(n_left, block.first_position + block.n_tokens);
  }

  std::vector<float> received, received_sq, received_max, k_norm2, v_norm2;
  std::size_t n_left = 0;  ///< tokens before this position have left, sinks aside

 private:
  void keep(const kv::LeavingBlock& block, std::span<const float> from, std::vector<float>& to) const {
    const std::size_t per_token = from.size() / block.n_tokens;
    const std::size_t at = (block.layer * n_tokens_ + block.first_position) * per_token;
    to.resize(std::max(to.size(), (block.layer + 1) * n_tokens_ * per_token));
    std::copy(from.begin(), from.end(), to.begin() + static_cast<std::ptrdiff_t>(at));
  }

  policy::Policy& policy_;
  std::size_t n_tokens_;
};

/// Rows of the tokens in [first, last) of all layers.
std::vector<float> rows_of(std::span<const float> values, const std::vector<std::size_t>& shape,
                           std::size_t first, std::size_t last) {
  const std::size_t per_token = shape[2];
  std::vector<float> rows;
  for (std::size_t layer = 0; layer < shape[0]; ++layer) {
    const auto from = values.subspan((layer * shape[1] + first) * per_token, (last - first) * per_token);
    rows.insert(rows.end(), from.begin(), from.end());
  }
  return rows;
}

/// Everything that one pass shows.
struct Pass {
  Pass(const TinyModel& tiny, const TinyRun& run, std::size_t chunk);

  policy::SignalHistory history;
  std::unique_ptr<policy::Policy> policy;
  Spy spy;
  std::vector<float> token_signals;  ///< [n, 4]
};

kv::CacheConfig cache_config(const ModelConfig& model, const TinyRun& run) {
  kv::CacheConfig config;
  config.n_layers = model.n_layers;
  config.n_kv_heads = model.n_kv_heads;
  config.n_heads = model.n_heads;
  config.head_dim = model.head_dim;
  config.context = model.context;
  config.window = run.window;
  config.block = run.block;
  config.scales = run.scales;
  return config;
}

Pass::Pass(const TinyModel& tiny, const TinyRun& run, std::size_t chunk)
    : policy(policy::parse(run.kv, history)), spy(*policy, tiny.tokens.size()) {
  const Model model = Model::load(tiny.path);
  nn::ThreadPool pool(2);
  kv::Cache cache(cache_config(model.config(), run), tiny.centres(run));
  kv::Attention attention(cache, pool);
  Forward forward(model, pool);
  policy::RarityCounter rarity;
  const std::size_t n_vocab = model.config().n_vocab;
  for (std::size_t at = 0; at < tiny.tokens.size(); at += chunk) {
    const auto ids = std::span(tiny.tokens).subspan(at, std::min(chunk, tiny.tokens.size() - at));
    SequencePart part{ids, &cache, &attention, &spy, ids.size(), true};
    forward.run({&part, 1});
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto [entropy, confidence] = policy::logit_signals(part.logits.subspan(i * n_vocab, n_vocab));
      token_signals.insert(token_signals.end(),
                           {entropy, rarity.observe(ids[i]), part.variance[i], confidence});
    }
  }
}

/// How far signals may be from NumPy's, relative to the largest value of the signal: float errors, and flips
/// of codes (compare.h). Integer products round x to 16 bits (nn/inputs.h), 30 times as coarse as float
/// sums, which flips more codes.
struct Bounds {
  Bounds(const TinyRun& run, std::size_t chunk) {
    const bool quantised = run.kv != "f16";
    const bool is_rounded = nn::rounds_inputs(chunk);
    median = quantised ? (is_rounded ? 4e-3F : 3e-4F) : (is_rounded ? 3e-4F : 1e-4F);
    p99 = quantised ? (is_rounded ? 6e-2F : 2e-2F) : (is_rounded ? 3e-3F : 1e-3F);
    max = quantised ? 1e-1F : 1e-2F;
  }
  float median, p99, max;
};

void expect_equal(const char* name, std::span<const float> found, std::span<const float> expected,
                  const Bounds& bounds) {
  ASSERT_EQ(found.size(), expected.size()) << name;
  const float scale = *std::max_element(expected.begin(), expected.end());
  const auto spread = difference(found, expected);
  EXPECT_LT(spread.median, bounds.median * scale) << name;
  EXPECT_LT(spread.p99, bounds.p99 * scale) << name;
  EXPECT_LT(spread.max, bounds.max * scale) << name;
}

void expect_layer_signals(const TinyModel& tiny, const TinyRun& run, const Spy& spy, const Bounds& bounds) {
  const std::size_t sinks = kv::CacheConfig{}.sinks;
  const std::pair<const char*, const std::vector<float>*> signals[] = {{"received", &spy.received},
                                                                       {"received_sq", &spy.received_sq},
                                                                       {"received_max", &spy.received_max},
                                                                       {"k_norm2", &spy.k_norm2},
                                                                       {"v_norm2", &spy.v_norm2}};
  for (const auto& [name, found] : signals) {
    const auto expected = tiny.array(run, name);
    ASSERT_EQ(found->size(), expected.values.size()) << name;
    const auto rows = rows_of(*found, expected.shape, sinks, spy.n_left);
    if (run.window == 0 && std::string_view(name).starts_with("received")) {
      EXPECT_EQ(rows, std::vector<float>(rows.size(), 0.0F)) << name;  // nobody saw the token exactly
      continue;
    }
    expect_equal(name, rows, rows_of(expected.values, expected.shape, sinks, spy.n_left), bounds);
  }
}

void expect_token_signals(const TinyModel& tiny, const TinyRun& run, const std::vector<float>& found,
                          const Bounds& bounds) {
  const auto expected = tiny.array(run, "token_signals").values;
  constexpr std::array<const char*, 4> kNames = {"entropy", "rarity", "attention variance", "confidence"};
  for (std::size_t s = 0; s < kNames.size(); ++s) {
    std::vector<float> a;
    std::vector<float> b;
    for (std::size_t i = s; i < expected.size(); i += kNames.size()) {
      a.push_back(found[i]);
      b.push_back(expected[i]);
    }
    expect_equal(kNames[s], a, b, bounds);
  }
}

TEST(Signals, EqualNumPy) {
  for (const TinyModel& tiny : test::tiny_models()) {
    for (const TinyRun& run : tiny.runs) {
      if (run.kv == "rule") continue;  // needs a session, which shows it the signals of tokens
      for (const std::size_t chunk : {tiny.tokens.size(), std::size_t{7}}) {
        SCOPED_TRACE(tiny.describe(run) + ", chunks of " + std::to_string(chunk));
        const Pass pass(tiny, run, chunk);
        // The last block that leaves ends `window` before the last query's position.
        const std::size_t last = tiny.tokens.size() - 1;
        ASSERT_EQ(pass.spy.n_left, (last - run.window) / run.block * run.block);
        expect_layer_signals(tiny, run, pass.spy, Bounds(run, chunk));
        expect_token_signals(tiny, run, pass.token_signals, Bounds(run, chunk));
      }
    }
  }
}

/// Mean over layers, K and V, and heads of the reference's widths of a token.
float mean_bits(const test::Array& widths, std::size_t token) {
  const auto [n_layers, sides, n, heads] =
      std::tie(widths.shape[0], widths.shape[1], widths.shape[2], widths.shape[3]);
  float sum = 0;
  for (std::size_t outer = 0; outer < n_layers * sides; ++outer) {
    for (std::size_t head = 0; head < heads; ++head) sum += widths.values[(outer * n + token) * heads + head];
  }
  return sum / static_cast<float>(n_layers * sides * heads);
}

TEST(Signals, WidthsEqualNumPyForEveryPolicy) {
  for (const TinyModel& tiny : test::tiny_models()) {
    const Model model = Model::load(tiny.path);
    nn::ThreadPool pool(2);
    for (const TinyRun& run : tiny.runs) {
      SCOPED_TRACE(tiny.describe(run));
      SessionOptions options = tiny.options(run);
      options.record = true;
      Session session(model, pool, options);
      session.feed(tiny.tokens);
      const std::size_t n_left = (tiny.tokens.size() - 1 - run.window) / run.block * run.block;
      for (std::size_t i = 0; i < tiny.tokens.size(); ++i) {
        const policy::TokenRecord record = session.record()->at(i);
        const bool left = i >= kv::CacheConfig{}.sinks && i < n_left;
        ASSERT_EQ(record.left, left) << "token " << i;
        const float bits = left ? mean_bits(tiny.array(run, "widths"), i) : 16.0F;
        ASSERT_NEAR(record.bits, bits, 1e-4F) << "token " << i;
      }
    }
  }
}

TEST(Signals, UniformLogitsHaveTheEntropyOfTheVocabulary) {
  const std::vector<float> logits(1000, -3.5F);
  EXPECT_NEAR(policy::logit_signals(logits).entropy, std::log(1000.0F), 1e-4F);
  EXPECT_NEAR(policy::logit_signals(logits).confidence, 1e-3F, 1e-7F);
}

TEST(Signals, OneHotLogitsHaveNoEntropyHoweverLarge) {
  std::vector<float> logits(1000, -1e30F);
  logits[17] = 1e30F;
  EXPECT_EQ(policy::logit_signals(logits).entropy, 0.0F);
  EXPECT_EQ(policy::logit_signals(logits).confidence, 1.0F);
}

TEST(Signals, RarityIsThatOfAPolyaUrnSeenBefore) {
  policy::RarityCounter counter;
  // -ln((c + 1) / (N + U + 1)) by hand, before the token itself counts.
  EXPECT_FLOAT_EQ(counter.observe(5), -std::log(1.0F / 1.0F));
  EXPECT_FLOAT_EQ(counter.observe(5), -std::log(2.0F / 3.0F));
  EXPECT_FLOAT_EQ(counter.observe(9), -std::log(1.0F / 4.0F));
  EXPECT_FLOAT_EQ(counter.observe(5), -std::log(3.0F / 6.0F));
}

}  // namespace
}  // namespace miser
