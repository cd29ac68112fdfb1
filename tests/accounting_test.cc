// What the cache says it costs against what it was given, on synthetic vectors of SmolLM2's head.
#include <gtest/gtest.h>

#include <map>
#include <memory_resource>
#include <random>

#include "kv/attention.h"
#include "kv/cache.h"
#include "nn/thread_pool.h"

namespace miser::kv {
namespace {

/// Remembers every allocation that is alive. One thread at a time is enough: the pool has one.
class Ledger final : public std::pmr::memory_resource {
 public:
  std::size_t alive = 0;
  std::size_t peak = 0;

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    void* memory = std::pmr::new_delete_resource()->allocate(bytes, alignment);
    sizes_[memory] = bytes;
    alive += bytes;
    peak = std::max(peak, alive);
    return memory;
  }
  void do_deallocate(void* memory, std::size_t bytes, std::size_t alignment) override {
    EXPECT_EQ(sizes_.at(memory), bytes);
    sizes_.erase(memory);
    alive -= bytes;
    std::pmr::new_delete_resource()->deallocate(memory, bytes, alignment);
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

  std::map<void*, std::size_t> sizes_;
};

/// Every width in turn, another turn for V; remembers what it gave.
class Cycle final : public WidthChooser {
 public:
  explicit Cycle(bool wants_signals) : wants_signals_(wants_signals) {}
  bool wants_received() const override { return wants_signals_; }
  bool wants_norms() const override { return wants_signals_; }
  void choose(const LeavingBlock& block, BlockWidths& widths) override {
    for (std::size_t i = 0; i < widths.k.size(); ++i) {
      widths.k[i] = kAllWidths[(block.first_position + i) % kWidthCount];
      widths.v[i] = kAllWidths[(block.first_position + 5 * i + 1) % kWidthCount];
      ++given[static_cast<std::size_t>(widths.k[i])];
      ++given[static_cast<std::size_t>(widths.v[i])];
    }
  }

  std::array<std::uint64_t, kWidthCount> given{};

 private:
  bool wants_signals_;
};

CacheConfig config_of(std::size_t window, std::size_t block) {
  CacheConfig config;
  config.n_layers = 2;
  config.n_kv_heads = 3;
  config.n_heads = 9;
  config.head_dim = 64;
  config.context = 16384;
  config.window = window;
  config.block = block;
  return config;
}

/// Feeds random vectors in chunks of random sizes up to `largest`.
class Feeder {
 public:
  Feeder(Cache& cache, WidthChooser& chooser) : cache_(cache), chooser_(chooser), attention_(cache, pool_) {}

  void feed(std::size_t n) {
    const CacheConfig& c = cache_.config();
    const auto q = random(n * c.n_heads * c.head_dim);
    std::vector<float> out(q.size());
    for (std::size_t layer = 0; layer < c.n_layers; ++layer) {
      const auto k = random(n * c.n_kv_heads * c.head_dim);
      const auto v = random(n * c.n_kv_heads * c.head_dim);
      attention_.forward({layer, n, q.data(), k.data(), v.data(), out.data(), nullptr}, chooser_);
    }
  }
  void feed_to(std::size_t total, std::size_t largest) {
    while (cache_.size() < total) feed(std::min(total - cache_.size(), 1 + random_() % largest));
  }

 private:
  std::vector<float> random(std::size_t n) {
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<float> values(n);
    for (float& x : values) x = uniform(random_);
    return values;
  }

  Cache& cache_;
  WidthChooser& chooser_;
  nn::ThreadPool pool_{1};
  Attention attention_;
  std::mt19937 random_{7};
};

/// Bits of payload and scale of the vectors at each width; 16-bit vectors have no scale.
std::uint64_t stored_bits(const std::array<std::uint64_t, kWidthCount>& vectors, std::size_t head_dim) {
  std::uint64_t sum = 0;
  for (const Width width : kAllWidths) {
    const std::uint64_t scale = width == Width::k16 ? 0 : 16;
    sum += vectors[static_cast<std::size_t>(width)] *
           (static_cast<std::uint64_t>(bits(width)) * head_dim + scale);
  }
  return sum;
}

TEST(Accounting, BytesAreThoseOfTheAllocator) {
  for (const bool wants_signals : {false, true}) {
    for (const std::size_t window : {0, 8, 32}) {
      Ledger ledger;
      Cycle chooser(wants_signals);
      {
        Cache cache(config_of(window, window == 8 ? 1 : 32), {}, &ledger);
        EXPECT_EQ(cache.bytes(), ledger.alive);
        Feeder feeder(cache, chooser);
        for (const std::size_t total : {1, 3, 40, 300, 700}) {
          feeder.feed_to(total, 90);
          EXPECT_EQ(cache.bytes(), ledger.alive) << "window " << window << ", " << total << " tokens";
          EXPECT_EQ(cache.bytes_peak(), ledger.peak) << "window " << window << ", " << total << " tokens";
        }
        cache.clear();
        EXPECT_EQ(cache.bytes(), ledger.alive);
        EXPECT_EQ(cache.size(), 0U);
        EXPECT_EQ(cache.bits_per_element(), 0);
      }
      EXPECT_EQ(ledger.alive, 0U) << "memory left when the cache is gone";
    }
  }
}

TEST(Accounting, EveryVectorIsCountedAtItsWidth) {
  Cycle chooser(true);
  Cache cache(config_of(32, 32));
  Feeder feeder(cache, chooser);
  for (const std::size_t total : {1, 31, 64, 65, 68, 69, 300, 601}) {
    feeder.feed_to(total, 50);
    auto expected = chooser.given;
    std::uint64_t packed = 0;
    for (const std::uint64_t n : expected) packed += n;
    const std::uint64_t all = 2 * total * cache.config().n_layers * cache.config().n_kv_heads;
    expected[static_cast<std::size_t>(Width::k16)] += all - packed;
    EXPECT_EQ(cache.vectors_at(), expected) << total << " tokens";
    // The first 4 tokens never leave, nor the block of the last query and the window before it.
    const std::size_t left = total > 64 ? (total - 1 - 32) / 32 * 32 - 4 : 0;
    EXPECT_EQ(packed, 2 * left * cache.config().n_layers * cache.config().n_kv_heads) << total << " tokens";
  }
}

TEST(Accounting, BitsPerElementAreAllBytesOverAllElements) {
  Cycle chooser(true);
  Cache cache(config_of(32, 32));
  Feeder(cache, chooser).feed_to(500, 200);
  const double elements = 2.0 * 500 * 2 * 3 * 64;  // K and V, tokens, layers, KV heads, head_dim
  EXPECT_DOUBLE_EQ(cache.bits_per_element(), 8 * static_cast<double>(cache.bytes()) / elements);
  EXPECT_EQ(cache.bytes_f16(), static_cast<std::size_t>(elements * 2));
}

/// Of one head: everything that is neither payload nor scale nor an exact row: tags, slack, signals, segment
/// headers.
double overhead(std::size_t n_tokens, std::size_t block) {
  Cycle chooser(false);
  CacheConfig config = config_of(32, block);
  config.n_heads = config.n_kv_heads = config.n_layers = 1;
  Cache cache(config);
  Feeder(cache, chooser).feed_to(n_tokens, 512);
  auto vectors = chooser.given;
  std::uint64_t packed = 0;
  for (const std::uint64_t n : vectors) packed += n;
  const std::uint64_t exact_rows = (4 + 32 + block) * 2;
  const double payload = static_cast<double>(stored_bits(vectors, 64) + exact_rows * 64 * 16) / 8;
  return static_cast<double>(cache.bytes()) / payload - 1;
}

TEST(Accounting, OverheadIsUnderThreePerCentAt2048AndOneAndAHalfAt8192) {
  EXPECT_LT(overhead(2048, 32), 0.03);
  EXPECT_LT(overhead(8192, 32), 0.015);
  EXPECT_LT(overhead(2048, 1), 0.03);
}

}  // namespace
}  // namespace miser::kv
