#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "base/error.h"
#include "kv/cache.h"

namespace miser::kv {
namespace {

CacheConfig small_config() {
  CacheConfig config;
  config.n_layers = 2;
  config.n_kv_heads = 3;
  config.n_heads = 6;
  config.head_dim = 16;
  config.context = 512;
  return config;
}

TEST(KvCache, ReadsABlockPackedOnceItsEndLiesAWindowBack) {
  for (const std::size_t window : {0U, 8U, 31U, 32U, 64U}) {
    for (const std::size_t block : {1U, 32U}) {
      CacheConfig config = small_config();
      config.window = window;
      config.block = block;
      const Cache cache(config);
      std::size_t packed = 0;  // end of the last block b with b + B + W <= t, found by trying
      for (std::size_t t = 0; t < 300; ++t) {
        while (packed + block + window <= t) packed += block;
        ASSERT_EQ(cache.exact_begin(t), packed) << "t " << t << " window " << window << " block " << block;
      }
    }
  }
}

TEST(KvCache, KeepsBetween32And63OfTheNewestTokensExactByDefault) {
  const Cache cache(small_config());
  for (std::size_t t = 64; t < 300; ++t) {
    EXPECT_GE(t - cache.exact_begin(t), 32U);
    EXPECT_LE(t - cache.exact_begin(t), 63U);
  }
}

TEST(KvCache, PlacesSinksBeforeStagedRowsWithoutAGap) {
  CountingResource memory(std::pmr::new_delete_resource());
  LayerCache layer(small_config(), &memory);
  layer.n_tokens = 200;
  layer.staged_begin = 0;
  EXPECT_EQ(layer.exact_row(3), 3U);
  EXPECT_EQ(layer.exact_row(199), 199U);
  layer.staged_begin = 128;
  EXPECT_EQ(layer.exact_row(3), 3U);
  EXPECT_EQ(layer.exact_row(128), 4U);
  EXPECT_EQ(layer.exact_rows(), 76U);
  layer.staged_begin = 2;  // blocks of one: positions 2 and 3 are sinks that are still staged
  EXPECT_EQ(layer.exact_row(5), 5U);
}

TEST(KvCache, RefusesABlockThatDoesNotDivideASegment) {
  for (const std::size_t block : {0U, 24U, 1024U}) {
    CacheConfig config = small_config();
    config.block = block;
    EXPECT_THROW(Cache{config}, Error) << block;
  }
}

TEST(KvCache, RefusesCentresOfAnotherSizeOrThatAreNotFinite) {
  const std::size_t elements = 2 * 3 * 16;
  EXPECT_NO_THROW(Cache(small_config(), {std::vector<float>(elements), std::vector<float>(elements)}));
  EXPECT_THROW(Cache(small_config(), {std::vector<float>(elements + 1), {}}), Error);
  std::vector<float> nan(elements, std::numeric_limits<float>::quiet_NaN());
  EXPECT_THROW(Cache(small_config(), {{}, nan}), Error);
}

TEST(KvCache, CountsWhatItAllocatesAndGivesItBack) {
  CountingResource counter(std::pmr::new_delete_resource());
  {
    Cache cache(small_config(), {}, &counter);
    EXPECT_GT(cache.bytes(), 0U);
    EXPECT_EQ(cache.bytes(), counter.bytes());
    EXPECT_EQ(cache.bits_per_element(), 0);
    EXPECT_EQ(cache.vectors_at()[5], 0U);
  }
  EXPECT_EQ(counter.bytes(), 0U);
}

}  // namespace
}  // namespace miser::kv
