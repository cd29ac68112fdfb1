#pragma once
#include <cstddef>
#include <functional>
#include <memory>

namespace miser::nn {

/// A fixed set of threads that share loops. Decoding runs some 200 short loops a token, so idle workers
/// spin for a moment before they sleep. One loop at a time; not reentrant.
class ThreadPool {
 public:
  /// `n_threads` counts the caller: 1 starts none. REQUIRES: n_threads >= 1.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  /// Runs body(item, worker) once for every item < n_items, worker < size(), and returns when all are done.
  /// Items are handed out one by one, so they may differ in cost. An exception from `body` is rethrown here
  /// after the other items are done.
  void parallel_for(std::size_t n_items, const std::function<void(std::size_t item, int worker)>& body);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace miser::nn
