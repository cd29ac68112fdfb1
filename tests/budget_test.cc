// Truncation, demotion and a hard limit of memory, on random vectors beside a plain model of the cache.
#include "kv/budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "cache_model.h"
#include "kv/demotion.h"

namespace miser::kv {
namespace {

using test::CacheModel;
using test::RandomWidths;

CacheConfig small_config() {
  CacheConfig config;
  config.n_layers = 2;
  config.n_kv_heads = 2;
  config.n_heads = 4;
  config.head_dim = 64;
  config.context = 4096;
  return config;
}

/// Bytes of the cache before the first token when its memory is limited.
std::size_t fixed_bytes(CacheConfig config) {
  config.memory = std::size_t{1} << 40U;
  return Cache(config, {std::vector<float>(config.n_layers * config.n_kv_heads * config.head_dim),
                        std::vector<float>(config.n_layers * config.n_kv_heads * config.head_dim)})
      .bytes();
}

TEST(KvCache, TruncatedKeepsItsVectorsAndGoesOn) {
  for (const std::size_t n : {0, 3, 4, 5, 33, 64, 100, 511, 512, 513, 560, 590, 599}) {
    SCOPED_TRACE(n);
    RandomWidths chooser(1);
    CacheModel model(small_config(), chooser, 2);
    model.feed(600);
    const std::size_t packed = model.cache.layer(0).staged_begin;
    model.truncate(n);
    EXPECT_EQ(model.cache.size(), n);
    EXPECT_EQ(model.cache.layer(0).staged_begin, n <= 4 ? 0 : std::min(n, packed));
    model.check();
    for (const std::size_t chunk : {1, 1, 40, 1, 100}) model.feed(chunk);
    model.check();
    model.feed(500);
    model.check();
  }
}

TEST(KvCache, TruncatedWithinTheWindowGoesOnAsIfTheDroppedTokensHadNeverCome) {
  // 70 tokens: the query at 69 reads the first block packed, as those from 64 on do.
  for (const std::size_t n : {65, 66, 69}) {
    RandomWidths one(1);
    RandomWidths other(1);
    CacheModel cut(small_config(), one, 2);
    CacheModel whole(small_config(), other, 2);
    cut.feed(n);
    whole.feed(n);
    cut.feed(70 - n);
    cut.truncate(n);
    EXPECT_EQ(cut.cache.bytes(), whole.cache.bytes());
    for (std::size_t layer = 0; layer < 2; ++layer) {
      const LayerCache& a = cut.cache.layer(layer);
      const LayerCache& b = whole.cache.layer(layer);
      EXPECT_EQ(a.staged_begin, b.staged_begin);
      for (std::size_t g = 0; g < 2; ++g) {
        EXPECT_TRUE(std::ranges::equal(a.heads[g].k[0].bytes(), b.heads[g].k[0].bytes()));
        EXPECT_TRUE(std::ranges::equal(a.heads[g].v[0].bytes(), b.heads[g].v[0].bytes()));
      }
    }
    cut.check();
  }
}

TEST(KvCache, TruncatedTokensKeepTheShareOfReceivedAttentionOfTheQueriesThatAreLeft) {
  RandomWidths chooser(1);
  CacheModel model(small_config(), chooser, 2);
  model.feed(80);
  const LayerCache& layer = model.cache.layer(1);
  const std::size_t stride = received_stride(model.cache.config());
  const auto noted = [&](std::size_t position) {
    const auto at = layer.received.begin() + static_cast<long>(layer.exact_row(position) * stride);
    return std::vector<float>(at, at + static_cast<long>(stride));
  };
  const auto whole = noted(60);  // from 19 queries
  model.truncate(71);            // 10 of them are left
  const auto cut = noted(60);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_FLOAT_EQ(cut[i], whole[i] * 10 / 19) << i;
  for (std::size_t i = 6; i < 8; ++i) EXPECT_EQ(cut[i], whole[i]) << "maximum of head " << i - 6;
  EXPECT_EQ(noted(70), std::vector<float>(stride, 0.0F)) << "nobody has read the last token yet";
}

TEST(Segment, NarrowedVectorsAreEncodedFromWhatTheyReadAs) {
  for (const SideKind kind : {SideKind::kKeys, SideKind::kValues}) {
    for (const std::size_t head_dim : {8, 64, 80, 128}) {
      CacheConfig config = small_config();
      config.head_dim = head_dim;
      config.memory = 1U << 30U;
      RandomWidths chooser(3);
      CacheModel model(config, chooser, 4);
      model.feed(300);
      model.check();
      std::mt19937 random(5);
      for (int round = 0; round < 3; ++round) {
        PackedHead& head = model.cache.layer(0).heads[1];
        Segment& segment = kind == SideKind::kKeys ? head.k[0] : head.v[0];
        std::vector<Width> widths(segment.size());
        std::vector<std::uint8_t> ratings(segment.size());
        for (std::size_t t = 0; t < widths.size(); ++t) {
          widths[t] = kAllWidths[random() % (static_cast<std::size_t>(segment.width(t)) + 1)];
          ratings[t] = segment.rating(t);
        }
        segment.keep(0, widths,
                     kind == SideKind::kKeys ? model.cache.key_side(0, 1) : model.cache.value_side(0, 1));
        for (std::size_t t = 0; t < widths.size(); ++t) {
          ASSERT_EQ(segment.width(t), widths[t]);
          ASSERT_EQ(segment.rating(t), ratings[t]);
        }
        model.check();
      }
    }
  }
}

TEST(Demotion, TakesTheCheapestStepsAndNoMoreThanIsWanted) {
  const DemotionSteps steps(64);
  std::mt19937 random(1);
  for (const std::size_t wanted : {1, 1000, 20000, 60000, 100000000}) {
    std::vector<std::pair<Width, std::uint8_t>> vectors(2000);
    for (auto& [width, rating] : vectors) {
      width = kAllWidths[random() % kWidthCount];
      rating = static_cast<std::uint8_t>(100 + random() % 20);
    }
    DemotionPlan plan(steps);
    for (const auto& [width, rating] : vectors) plan.count(width, rating);
    plan.solve(wanted);
    // The same by one step at a time: the cheapest of all, at equal prices the earliest vector's.
    std::vector<Width> expected;
    for (const auto& vector : vectors) expected.push_back(vector.first);
    for (std::size_t released = 0; released < wanted;) {
      const auto price = [&](std::size_t i) { return steps.log_price(expected[i], vectors[i].second); };
      std::size_t best = vectors.size();
      for (std::size_t i = 0; i < vectors.size(); ++i) {
        if (steps.next(expected[i]) && (best == vectors.size() || price(i) < price(best))) best = i;
      }
      if (best == vectors.size()) break;
      released += steps.next(expected[best])->released;
      expected[best] = steps.next(expected[best])->to;
    }
    for (std::size_t i = 0; i < vectors.size(); ++i) {
      EXPECT_EQ(plan.take(vectors[i].first, vectors[i].second), expected[i]) << wanted << ", vector " << i;
    }
  }
}

TEST(Demotion, EveryStepCostsMoreThanTheOneBefore) {
  for (const std::size_t head_dim : {2, 4, 8, 20, 64, 80, 128, 256}) {
    const DemotionSteps steps(head_dim);
    for (const Width width : kAllWidths) {
      if (!steps.next(width)) {
        EXPECT_EQ(width, Width::k1);
        continue;
      }
      const Width to = steps.next(width)->to;
      EXPECT_LT(steps.stored_bytes(to), steps.stored_bytes(width));
      if (!steps.next(to)) continue;
      EXPECT_LT(steps.log_price(width, 9), steps.log_price(to, 9)) << head_dim;
    }
  }
}

/// Peak, and what the model finds wrong, over a long text.
class Limited : public testing::TestWithParam<std::tuple<std::size_t, std::size_t, std::size_t>> {
 protected:
  static CacheConfig config(std::size_t room) {
    CacheConfig config = small_config();
    std::tie(config.window, config.block, config.head_dim) = GetParam();
    config.memory = fixed_bytes(config) + room;
    return config;
  }
};

TEST_P(Limited, MemoryIsNeverExceeded) {
  for (const std::size_t room : {3000, 30000, 90000}) {
    SCOPED_TRACE(room);
    RandomWidths chooser(1);
    CacheModel model(config(room), chooser, 2);
    std::mt19937 random(3);
    const std::size_t n = std::min<std::size_t>(model.cache.capacity(), 1500);
    EXPECT_GE(n, 32U);
    while (model.cache.size() < n) {
      model.feed(std::min<std::size_t>(n - model.cache.size(), 1 + random() % 90));
      ASSERT_LE(model.bytes_peak(), model.cache.config().memory) << model.cache.size() << " tokens";
    }
    model.check();
  }
}

TEST_P(Limited, ChunksChangeNoWidth) {
  const auto widths = [&](std::size_t chunk) {
    RandomWidths chooser(1);
    CacheModel model(config(50000), chooser, 2);
    while (model.cache.size() < 500) model.feed(std::min(chunk, 500 - model.cache.size()));
    return std::pair(model.cache.vectors_at(), model.cache.bytes());
  };
  const auto expected = widths(500);
  for (const std::size_t chunk : {1, 7, 64, 100}) EXPECT_EQ(widths(chunk), expected) << chunk;
}

INSTANTIATE_TEST_SUITE_P(KvCache, Limited,
                         testing::Values(std::tuple(32, 32, 64), std::tuple(0, 1, 64),
                                         std::tuple(8, 64, 16)));

TEST(KvCache, DemotesCheapestVectorWhenBudgetIsFull) {
  CacheConfig config = small_config();
  config.memory = fixed_bytes(config) + 200000;  // so that 16 bits are under the cap
  RandomWidths chooser(1);
  CacheModel limited(config, chooser, 2);
  config.memory = std::size_t{1} << 40U;
  RandomWidths same(1);
  CacheModel free(config, same, 2);
  limited.feed(1000);
  free.feed(1000);
  // Whatever was given up costs no more than anything that was kept, but for what left after the last
  // decision.
  const DemotionSteps steps(config.head_dim);
  float dearest_given = -1000;
  float cheapest_kept = 1000;
  for (std::size_t layer = 0; layer < config.n_layers; ++layer) {
    for (std::size_t g = 0; g < config.n_kv_heads; ++g) {
      const Segment& now = limited.cache.layer(layer).heads[g].v[0];
      const Segment& was = free.cache.layer(layer).heads[g].v[0];
      for (std::size_t t = 0; t < now.size(); ++t) {
        if (now.width(t) < was.width(t)) {
          Width last = was.width(t);
          while (steps.next(last)->to != now.width(t)) last = steps.next(last)->to;
          dearest_given = std::max(dearest_given, steps.log_price(last, now.rating(t)));
        }
        if (steps.next(now.width(t)))
          cheapest_kept = std::min(cheapest_kept, steps.log_price(now.width(t), now.rating(t)));
      }
    }
  }
  EXPECT_GT(dearest_given, -1000);
  EXPECT_LE(dearest_given, cheapest_kept);
}

TEST(KvCache, HoldsAsManyTokensAsTheMemoryHasRoomForAtOneBit) {
  CacheConfig config = small_config();
  config.memory = fixed_bytes(config) + 50000;
  RandomWidths chooser(1);
  CacheModel model(config, chooser, 2);
  const std::size_t n = model.cache.capacity();
  // 8 sides of 8 + 2 + 1 bytes and 3 tag bits a token, and the last block beside a window that is exact.
  EXPECT_NEAR(static_cast<double>(n), 50000 / (8 * 11.4) + 64, 64);
  EXPECT_LT(n, config.context);
  model.feed(n);
  model.check();
  EXPECT_GT(model.cache.bytes(), config.memory - 8000) << "memory that was not used";
  EXPECT_EQ(Cache(small_config()).capacity(), 4096U);
}

TEST(KvCache, DropsTheOldestTokensBehindTheSinksWhenAskedTo) {
  CacheConfig config = small_config();
  config.context = 2000;
  config.drop_oldest = true;
  config.memory = fixed_bytes(config) + 30000;
  RandomWidths chooser(1);
  CacheModel model(config, chooser, 2);
  EXPECT_EQ(model.cache.capacity(), 2000U);
  std::size_t before = 0;
  while (model.cache.size() < 2000) {
    model.feed(100);
    EXPECT_GE(model.cache.n_dropped(), before);
    before = model.cache.n_dropped();
    ASSERT_LE(model.bytes_peak(), config.memory);
  }
  EXPECT_GT(before, 1500U);
  EXPECT_LT(before, 1850U) << "more was dropped than necessary";
  model.check();
  const std::size_t held = 2000 - before;
  EXPECT_EQ(model.cache.bytes_f16(), held * 2 * 2 * 64 * 2 * 2);
  model.truncate(1990);
  model.feed(10);
  model.check();
}

TEST(KvCache, RefusesAMemoryThatHoldsNoWindowAndNamesTheLeast) {
  CacheConfig config = small_config();
  const Centres centres{std::vector<float>(2 * 2 * 64), std::vector<float>(2 * 2 * 64)};
  const std::size_t least = fixed_bytes(config);
  for (const bool drop : {false, true}) {
    config.drop_oldest = drop;
    config.memory = least - 1;
    EXPECT_THAT([&] { Cache(config, centres); },
                testing::ThrowsMessage<Error>(testing::HasSubstr("expected at least")));
  }
  config.drop_oldest = false;
  config.memory = least;
  EXPECT_GE(Cache(config, centres).capacity(), config.window + config.block);
}

TEST(KvCache, RandomStepsKeepTheVectorsOfAPlainModel) {
  for (unsigned seed = 0; seed < 12; ++seed) {
    std::mt19937 random(seed);
    CacheConfig config = small_config();
    config.head_dim = std::array{16, 64, 80}[random() % 3];
    config.window = std::array{0, 8, 32, 100}[random() % 4];
    config.block = std::array{1, 32, 64}[random() % 3];
    config.sinks = std::array{0, 4, 40}[random() % 3];
    config.drop_oldest = random() % 2 == 0;
    config.context = 1400;
    config.memory = fixed_bytes(config) + 20000 + random() % 60000;
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomWidths chooser(seed);
    CacheModel model(config, chooser, seed);
    for (int step = 0; step < 40; ++step) {
      if (random() % 4 == 0) {
        model.truncate(model.cache.size() - random() % (1 + model.cache.size() / (1 + random() % 5)));
      } else {
        const std::size_t room = model.cache.capacity() - model.cache.size();
        if (room > 0) model.feed(1 + random() % std::min<std::size_t>(room, 120));
      }
      model.check();
      ASSERT_LE(model.bytes_peak(), config.memory) << "step " << step;
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(KvCache, CopiesNeverExceedTheMemoryOfEither) {
  CacheConfig config = small_config();
  config.memory = fixed_bytes(config) + 60000;
  RandomWidths chooser(1);
  CacheModel one(config, chooser, 2);
  CacheModel other(config, chooser, 2);
  one.feed(400);
  other.feed(300);
  other.cache.copy_tokens(one.cache);
  EXPECT_LE(other.bytes_peak(), config.memory);
  EXPECT_EQ(other.cache.bytes(), one.cache.bytes());
  EXPECT_EQ(other.cache.vectors_at(), one.cache.vectors_at());
}

}  // namespace
}  // namespace miser::kv
