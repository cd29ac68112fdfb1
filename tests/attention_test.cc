// Attention over the mixed-width cache without a model: the same vectors in other chunks. Nothing before the
// cache rounds differently here, so codes are the same to the last bit and outputs differ by float sums
// alone.
#include "kv/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>

#include "compare.h"
#include "kv/cache.h"
#include "nn/thread_pool.h"

namespace miser::kv {
namespace {

/// A few queries are read in 16 bits and their weights in 15 (kv/packed.h): a score of up to 30 is off by
/// some 30 * 2^-15, and so is a weight in proportion; values are below 6 and errors of many keys average out.
constexpr double kTolerance = 1e-3;

/// Random queries, keys and values of one layer, [n, heads, head_dim] each. Scores have a deviation of 3.
struct Text {
  Text(const CacheConfig& config, std::size_t n_tokens, std::mt19937_64& random) : n(n_tokens) {
    std::normal_distribution<float> normal;
    q.resize(n * config.n_heads * config.head_dim);
    k.resize(n * config.n_kv_heads * config.head_dim);
    v.resize(k.size());
    for (float& x : q) x = 3 * normal(random);
    for (float& x : k) x = normal(random);
    for (float& x : v) x = normal(random);
  }

  std::size_t n;
  std::vector<float> q, k, v;
};

/// Widths from a hash of the position and the side, or from the signals; keeps all that it was told.
class Chooser final : public WidthChooser {
 public:
  explicit Chooser(bool by_signals) : by_signals_(by_signals) {}
  bool wants_received() const override { return true; }
  bool wants_norms() const override { return true; }
  void choose(const LeavingBlock& block, BlockWidths& widths) override {
    for (std::size_t i = 0; i < block.n_tokens; ++i) {
      for (std::size_t g = 0; g < block.n_kv_heads; ++g) {
        const std::size_t at = i * block.n_kv_heads + g;
        // Norms are sums in one order, whatever the chunk: a threshold on them is exact.
        const std::size_t level = by_signals_ ? static_cast<std::size_t>(4 * block.k_norm2[at])
                                              : (block.first_position + i) * 2654435761U / 7 + g;
        widths.k[g * block.n_tokens + i] = kAllWidths[level % kWidthCount];
        widths.v[g * block.n_tokens + i] = kAllWidths[(level / 7 + 1) % kWidthCount];
        for (const Width width : {widths.k[g * block.n_tokens + i], widths.v[g * block.n_tokens + i]}) {
          given[block.first_position + i].push_back(bits(width));
        }
      }
    }
    for (const auto& signal :
         {block.received, block.received_sq, block.received_max, block.k_norm2, block.v_norm2}) {
      signals.insert(signals.end(), signal.begin(), signal.end());
    }
  }

  std::map<std::size_t, std::vector<int>> given;  ///< by position, heads in order, K before V
  std::vector<float> signals;

 private:
  bool by_signals_;
};

struct Pass {
  std::vector<float> out;       ///< [n, n_heads, head_dim]
  std::vector<float> variance;  ///< [n]
  std::vector<float> signals;
  std::map<std::size_t, std::vector<int>> widths;
  std::size_t bytes = 0;
};

/// `sizes` are the chunks, the last one repeated.
Pass attend(const CacheConfig& config, const Text& text, const std::vector<std::size_t>& sizes,
            bool by_signals, int n_threads = 1) {
  nn::ThreadPool pool(n_threads);
  Cache cache(config);
  Attention attention(cache, pool);
  Chooser chooser(by_signals);
  Pass pass;
  pass.out.resize(text.q.size());
  pass.variance.resize(text.n);
  const std::size_t q_dim = config.n_heads * config.head_dim;
  const std::size_t kv_dim = config.n_kv_heads * config.head_dim;
  std::size_t i = 0;
  for (std::size_t at = 0; at < text.n;) {
    const std::size_t n = std::min(sizes[std::min(i++, sizes.size() - 1)], text.n - at);
    attention.forward({0, n, text.q.data() + at * q_dim, text.k.data() + at * kv_dim,
                       text.v.data() + at * kv_dim, pass.out.data() + at * q_dim, pass.variance.data() + at},
                      chooser);
    at += n;
  }
  pass.signals = std::move(chooser.signals);
  pass.widths = std::move(chooser.given);
  pass.bytes = cache.bytes();
  return pass;
}

void expect_same(const Pass& found, const Pass& expected) {
  EXPECT_LT(test::difference(found.out, expected.out).max, kTolerance);
  EXPECT_LT(test::difference(found.variance, expected.variance).max, kTolerance);
  EXPECT_EQ(found.widths, expected.widths);
  if (!expected.signals.empty()) {
    EXPECT_LT(test::difference(found.signals, expected.signals).max, kTolerance);
  }
}

CacheConfig random_config(std::mt19937_64& random) {
  auto pick = [&](std::initializer_list<std::size_t> values) {
    return values.begin()[random() % values.size()];
  };
  CacheConfig config;
  config.n_layers = 1;
  config.n_kv_heads = pick({1, 2, 3});
  config.n_heads = config.n_kv_heads * pick({1, 2, 3, 4});
  config.head_dim = pick({8, 24, 32, 64, 80});
  config.context = 1024;
  config.window = pick({0, 1, 8, 31, 32, 33, 100});
  config.block = pick({1, 2, 8, 32, 64});
  config.sinks = pick({0, 1, 4, 5, 40});
  config.scales = pick({0, 1}) == 0 ? ScaleRule::kLeastSquares : ScaleRule::kUnbiased;
  return config;
}

std::string describe(const CacheConfig& c, std::size_t n) {
  return std::to_string(n) + " tokens, " + std::to_string(c.n_heads) + "/" + std::to_string(c.n_kv_heads) +
         " heads of " + std::to_string(c.head_dim) + ", window " + std::to_string(c.window) + ", block " +
         std::to_string(c.block) + ", sinks " + std::to_string(c.sinks);
}

TEST(Attention, ChunksDoNotChangeOutputsSignalsOrWidths) {
  std::mt19937_64 random(20261125);
  for (int round = 0; round < 40; ++round) {
    const CacheConfig config = random_config(random);
    // A few texts reach into the second and third segment.
    const Text text(config, round % 5 == 0 ? 550 : 40 + random() % 200, random);
    SCOPED_TRACE(describe(config, text.n));
    const bool by_signals = round % 2 == 0;
    const Pass all = attend(config, text, {text.n}, by_signals);
    const std::vector<std::vector<std::size_t>> cuts = {
        {1}, {7}, {64}, {text.n / 2, 1}, {1 + random() % 50, 1 + random() % 50, 1 + random() % 50}};
    for (const auto& sizes : cuts) {
      SCOPED_TRACE("first chunk of " + std::to_string(sizes[0]) + ", last of " +
                   std::to_string(sizes.back()));
      expect_same(attend(config, text, sizes, by_signals), all);
    }
  }
}

TEST(Attention, ThreadsChangeNothing) {
  std::mt19937_64 random(1);
  CacheConfig config = random_config(random);
  config.context = 4096;
  const Text text(config, 2100, random);  // enough full segments for several shares of them
  SCOPED_TRACE(describe(config, text.n));
  const Pass one = attend(config, text, {1500, 300}, true, 1);
  for (const int n_threads : {2, 3}) {
    const Pass several = attend(config, text, {1500, 300}, true, n_threads);
    EXPECT_EQ(several.out, one.out);
    EXPECT_EQ(several.widths, one.widths);
    EXPECT_EQ(several.signals, one.signals);
    EXPECT_EQ(several.bytes, one.bytes);
  }
}

}  // namespace
}  // namespace miser::kv
