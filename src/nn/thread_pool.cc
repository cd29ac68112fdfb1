#include "nn/thread_pool.h"

#include <hwy/cache_control.h>
#include <pthread.h>

#include <atomic>
#include <cassert>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace miser::nn {
namespace {

// Serial parts between the loops of a decoded token are shorter than this; waking a sleeper takes as long.
constexpr std::chrono::microseconds kSpin{50};

// The state of the current loop in one word, so that a worker joins a loop only while it is open and the
// caller waits only for workers that joined: one that the system runs late costs nothing.
constexpr std::uint32_t kWorkers = 0xFFFF;       // workers inside the loop
constexpr std::uint32_t kOpen = 1U << 16;        // items may be left
constexpr std::uint32_t kGeneration = 1U << 17;  // number of the loop, in the remaining bits

std::uint32_t generation(std::uint32_t state) {
  return state / kGeneration;
}

/// Waits up to `limit` for `ready`; returns whether it became true.
template <typename Ready>
bool spin_until(std::chrono::nanoseconds limit, Ready ready) {
  constexpr int kPausesPerClockRead = 16;
  const auto end = std::chrono::steady_clock::now() + limit;
  do {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      if (ready()) return true;
      hwy::Pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

/// Threads started while it lives get no asynchronous signals: a handler would run on their stack, and
/// oneDNN's kernels keep other things than the stack in the stack pointer.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t blocked;
    sigfillset(&blocked);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&blocked, fault);
    pthread_sigmask(SIG_SETMASK, &blocked, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

struct ThreadPool::Impl {
  using Body = std::function<void(std::size_t, int)>;

  explicit Impl(int n_threads);
  ~Impl();

  void run(std::size_t n_items, const Body& body);
  void work(int worker);
  void run_items(int worker);
  bool join(std::uint32_t& seen);
  void leave();
  void wake_workers();
  void wait_for_workers();

  std::chrono::nanoseconds spin;
  std::vector<std::thread> threads;

  // Written by the caller while no worker is inside a loop.
  const Body* loop_body = nullptr;
  std::size_t loop_items = 0;

  std::atomic<std::uint32_t> state{0};
  std::atomic<std::size_t> next_item{0};
  std::atomic<bool> stop{false};

  // Sleeping: whoever sleeps announces it under the mutex before a last look at the state, and whoever
  // changes the state looks for sleepers after it; both in the one order of sequentially consistent
  // operations.
  std::atomic<int> sleeping_workers{0};
  std::atomic<bool> caller_sleeps{false};
  std::mutex mutex;
  std::condition_variable work_added;
  std::condition_variable workers_left;
  std::exception_ptr error;  // first exception of the current loop, guarded by mutex
};

ThreadPool::Impl::Impl(int n_threads) {
  const bool oversubscribed = n_threads > static_cast<int>(std::thread::hardware_concurrency());
  spin = oversubscribed ? std::chrono::nanoseconds{0} : kSpin;
  const SignalsBlocked in_workers;
  threads.reserve(static_cast<std::size_t>(n_threads) - 1);
  for (int worker = 1; worker < n_threads; ++worker) {
    threads.emplace_back([this, worker] { work(worker); });
  }
}

ThreadPool::Impl::~Impl() {
  stop = true;
  wake_workers();
  for (auto& thread : threads) thread.join();
}

void ThreadPool::Impl::wake_workers() {
  if (sleeping_workers == 0) return;
  const std::lock_guard lock(mutex);
  work_added.notify_all();
}

/// Enters the current loop if it is open and not the one last seen.
bool ThreadPool::Impl::join(std::uint32_t& seen) {
  auto now = state.load();
  while ((now & kOpen) != 0 && generation(now) != seen) {
    if (state.compare_exchange_weak(now, now + 1)) {
      seen = generation(now);
      return true;
    }
  }
  return false;
}

void ThreadPool::Impl::leave() {
  const auto before = state.fetch_sub(1);
  if ((before & kWorkers) != 1 || (before & kOpen) != 0 || !caller_sleeps) return;
  const std::lock_guard lock(mutex);
  workers_left.notify_one();
}

void ThreadPool::Impl::work(int worker) {
  std::uint32_t seen = generation(0);
  while (!stop) {
    bool joined = spin_until(spin, [&] { return stop || join(seen); });
    if (!joined) {
      std::unique_lock lock(mutex);
      ++sleeping_workers;
      work_added.wait(lock, [&] { return stop || (joined = join(seen)); });
      --sleeping_workers;
    }
    if (stop) return;
    run_items(worker);
    leave();
  }
}

void ThreadPool::Impl::run_items(int worker) {
  for (auto item = next_item++; item < loop_items; item = next_item++) {
    try {
      (*loop_body)(item, worker);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
    }
  }
}

void ThreadPool::Impl::wait_for_workers() {
  const auto all_left = [&] { return (state & kWorkers) == 0; };
  if (spin_until(spin, all_left)) return;
  std::unique_lock lock(mutex);
  caller_sleeps = true;
  workers_left.wait(lock, all_left);
  caller_sleeps = false;
}

void ThreadPool::Impl::run(std::size_t n_items, const Body& body) {
  loop_body = &body;
  loop_items = n_items;
  next_item = 0;
  const bool shared = n_items > 1 && !threads.empty();
  if (shared) {
    state += kGeneration + kOpen;
    wake_workers();
  }
  run_items(0);
  if (shared) {
    state -= kOpen;
    wait_for_workers();
  }
  if (error) std::rethrow_exception(std::exchange(error, nullptr));
}

ThreadPool::ThreadPool(int n_threads) {
  assert(n_threads >= 1);
  impl_ = std::make_unique<Impl>(n_threads);
}

ThreadPool::~ThreadPool() = default;

int ThreadPool::size() const {
  return static_cast<int>(impl_->threads.size()) + 1;
}

void ThreadPool::parallel_for(std::size_t n_items, const std::function<void(std::size_t, int)>& body) {
  if (n_items == 0) return;
  impl_->run(n_items, body);
}

}  // namespace miser::nn
