// Caches that share packed segments: what each holds is what it would hold alone, and every byte is allocated
// once.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "cache_model.h"

namespace miser::kv {
namespace {

using test::CacheModel;
using test::RandomWidths;
using Models = std::vector<std::unique_ptr<CacheModel>>;

CacheConfig config_of(std::size_t memory, bool drop_oldest) {
  CacheConfig config;
  config.n_layers = 2;
  config.n_kv_heads = 2;
  config.n_heads = 4;
  config.head_dim = 64;
  config.context = 2048;
  config.memory = memory;
  config.drop_oldest = drop_oldest;
  return config;
}

template <typename F>
void for_each_segment(const Cache& cache, F&& f) {
  for (std::size_t layer = 0; layer < cache.config().n_layers; ++layer) {
    for (const PackedHead& head : cache.layer(layer).heads) {
      for (const Segment& segment : head.k) f(segment);
      for (const Segment& segment : head.v) f(segment);
    }
  }
}

/// What all caches hold, each byte once.
std::size_t bytes_once(const Models& models) {
  std::set<const std::byte*> seen;
  std::size_t sum = 0;
  for (const auto& model : models) {
    sum += model->cache.bytes();
    for_each_segment(model->cache, [&](const Segment& segment) {
      const bool is_new = segment.size() == 0 || seen.insert(segment.bytes().data()).second;
      if (!is_new) sum -= segment.heap_bytes();
    });
  }
  return sum;
}

/// Those of the segments that several hold.
std::size_t bytes_shared(const Models& models, std::size_t index) {
  std::size_t sum = 0;
  for_each_segment(models[index]->cache, [&](const Segment& segment) {
    std::size_t holders = 0;
    for (const auto& model : models) {
      for_each_segment(model->cache, [&](const Segment& other) {
        if (segment.size() > 0 && other.bytes().data() == segment.bytes().data()) ++holders;
      });
    }
    if (holders > 1) sum += segment.heap_bytes();
  });
  return sum;
}

void change(Models& models, std::mt19937& random, const auto& make) {
  const std::size_t i = random() % models.size();
  CacheModel& model = *models[i];
  const std::size_t room = model.cache.capacity() - model.cache.size();
  switch (random() % 7) {
    case 0:
      return model.truncate(random() % (model.cache.size() + 1));
    case 1:
      models[i] = make();
      return;
    case 2:
    case 3:
      if (const auto& other = models[random() % models.size()]; other.get() != &model)
        model.copy_tokens(*other);
      return;
    default:
      if (room > 0) model.feed(1 + random() % std::min<std::size_t>(room, 150));
  }
}

TEST(SharedSegments, HoldWhatCopiesWouldAndAreAllocatedOnce) {
  const std::size_t fixed = Cache(config_of(std::size_t{1} << 40U, false)).bytes() +
                            2 * 2 * 64 * 2 * sizeof(float);  // centres of every head
  for (const CacheConfig& config :
       {config_of(0, false), config_of(fixed + 120000, false), config_of(fixed + 60000, true)}) {
    for (const unsigned seed : {1U, 2U}) {
      SCOPED_TRACE(fmt::format("limit {}, seed {}", config.memory, seed));
      std::mt19937 random(seed);
      CountingResource memory(std::pmr::new_delete_resource());
      RandomWidths chooser(seed);
      const auto make = [&] {
        auto model = std::make_unique<CacheModel>(config, chooser, 1, &memory);
        model->reseed(static_cast<unsigned>(random()));
        return model;
      };
      Models models;
      for (int i = 0; i < 3; ++i) models.push_back(make());
      for (int step = 0; step < 40; ++step) {
        change(models, random, make);
        for (std::size_t i = 0; i < models.size(); ++i) {
          models[i]->check();
          EXPECT_EQ(models[i]->cache.bytes_shared(), bytes_shared(models, i)) << step;
          if (config.memory > 0) {
            EXPECT_LE(models[i]->cache.bytes_peak(), config.memory) << step;
          }
        }
        ASSERT_EQ(memory.bytes(), bytes_once(models)) << step;
        if (testing::Test::HasFailure()) return;
      }
      models.clear();
      EXPECT_EQ(memory.bytes(), 0U);
    }
  }
}

TEST(SharedSegments, OutliveTheCacheThatPackedThem) {
  RandomWidths chooser(1);
  CountingResource memory(std::pmr::new_delete_resource());
  const CacheConfig config = config_of(0, false);
  CacheModel last(config, chooser, 1, &memory);
  {
    CacheModel first(config, chooser, 1, &memory);
    first.feed(600);
    last.copy_tokens(first);
    EXPECT_GT(last.cache.bytes_shared(), last.cache.bytes() / 2);
  }
  EXPECT_EQ(last.cache.bytes_shared(), 0U);
  EXPECT_EQ(memory.bytes(), last.cache.bytes());
  last.feed(100);
  last.check();
}

TEST(SharedSegments, MayBeChangedFromDifferentThreads) {
  RandomWidths chooser(1);
  CountingResource memory(std::pmr::new_delete_resource());
  const CacheConfig config = config_of(1 << 20, false);
  CacheModel prompt(config, chooser, 1, &memory);
  prompt.feed(700);
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      CacheModel model(config, chooser, 1, &memory);
      model.reseed(thread);
      for (const std::size_t n : {650, 520, 300, 40}) {
        model.copy_tokens(prompt);
        model.feed(40);
        model.truncate(n);
        model.feed(40);
        model.check();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  prompt.check();
  EXPECT_EQ(prompt.cache.bytes_shared(), 0U);
}

}  // namespace
}  // namespace miser::kv
