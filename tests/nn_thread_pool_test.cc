#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "nn/thread_pool.h"

namespace miser::nn {
namespace {

TEST(ThreadPool, EveryItemRunsOnceForAnyNumberOfThreadsAndItems) {
  for (int n_threads = 1; n_threads <= 8; ++n_threads) {
    ThreadPool pool(n_threads);
    EXPECT_EQ(pool.size(), n_threads);
    for (const std::size_t n_items : {0, 1, 2, 7, 8, 9, 1000}) {
      std::vector<int> runs(n_items, 0);
      pool.parallel_for(n_items, [&](std::size_t item, int) { ++runs[item]; });
      EXPECT_EQ(runs, std::vector<int>(n_items, 1)) << n_threads << " threads";
    }
  }
}

TEST(ThreadPool, WorkersHaveNumbersOfTheirOwn) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> inside(4);
  std::atomic<bool> shared = false;
  pool.parallel_for(2000, [&](std::size_t, int worker) {
    if (inside.at(static_cast<std::size_t>(worker))++ != 0) shared = true;
    --inside[static_cast<std::size_t>(worker)];
  });
  EXPECT_FALSE(shared);
}

TEST(ThreadPool, ItemsRunAtTheSameTime) {
  ThreadPool pool(2);
  std::atomic<int> started = 0;
  std::atomic<bool> met = true;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  pool.parallel_for(2, [&](std::size_t, int) {
    ++started;
    while (started < 2 && met) {
      if (std::chrono::steady_clock::now() > end) met = false;
    }
  });
  EXPECT_TRUE(met);
}

TEST(ThreadPool, TenThousandLoopsLoseNoItem) {
  for (const int n_threads : {1, 2, 3, 8}) {
    ThreadPool pool(n_threads);
    std::vector<std::size_t> sums(16, 0);
    for (std::size_t loop = 0; loop < 10000; ++loop) {
      pool.parallel_for(sums.size(), [&](std::size_t item, int) { sums[item] += loop; });
    }
    EXPECT_EQ(sums, std::vector<std::size_t>(16, 10000U * 9999U / 2U)) << n_threads << " threads";
  }
}

TEST(ThreadPool, SleepingWorkersWakeUp) {
  ThreadPool pool(2);
  for (int loop = 0; loop < 5; ++loop) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));  // far beyond the time workers spin
    std::atomic<int> started = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    std::atomic<bool> met = true;
    pool.parallel_for(2, [&](std::size_t, int) {
      ++started;
      while (started < 2 && met) {
        if (std::chrono::steady_clock::now() > end) met = false;
      }
    });
    EXPECT_TRUE(met);
  }
}

TEST(ThreadPool, ExceptionIsRethrownAfterTheOtherItems) {
  for (const int n_threads : {1, 2, 5}) {
    ThreadPool pool(n_threads);
    for (const std::size_t n_items : {1, 100}) {
      std::atomic<std::size_t> others = 0;
      const auto body = [&](std::size_t item, int) {
        if (item == n_items / 2) throw std::runtime_error("item failed");
        ++others;
      };
      EXPECT_THROW(pool.parallel_for(n_items, body), std::runtime_error);
      EXPECT_EQ(others, n_items - 1);
    }
    std::atomic<int> after = 0;
    pool.parallel_for(10, [&](std::size_t, int) { ++after; });
    EXPECT_EQ(after, 10);
  }
}

TEST(ThreadPool, ResultsOfItemsAreSeenByTheCaller) {
  ThreadPool pool(3);
  std::vector<double> squares(5000);
  pool.parallel_for(squares.size(), [&](std::size_t i, int) { squares[i] = static_cast<double>(i * i); });
  EXPECT_EQ(std::accumulate(squares.begin(), squares.end(), 0.0), 4999.0 * 5000.0 * 9999.0 / 6.0);
}

}  // namespace
}  // namespace miser::nn
