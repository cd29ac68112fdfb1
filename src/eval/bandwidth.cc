#include "eval/bandwidth.h"

#include <unistd.h>
#include <numeric>

#include <algorithm>
#include <atomic>
#include <memory>
#include <numeric>
#include <vector>

#include "eval/statistics.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "eval/bandwidth.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace miser::eval::HWY_NAMESPACE {

std::uint64_t sum(const std::uint64_t* HWY_RESTRICT words, std::size_t n) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<std::uint64_t> d;
  const std::size_t lanes = hn::Lanes(d);
  auto a = hn::Zero(d);
  auto b = hn::Zero(d);
  for (std::size_t i = 0; i < n; i += 4 * lanes) {
    const auto* at = words + i;
    a = hn::Add(a, hn::Add(hn::LoadU(d, at), hn::LoadU(d, at + lanes)));
    b = hn::Add(b, hn::Add(hn::LoadU(d, at + 2 * lanes), hn::LoadU(d, at + 3 * lanes)));
  }
  // Not SumOfLanes: GCC reduces signed lanes, whose overflow is undefined.
  HWY_ALIGN std::uint64_t last[HWY_MAX_BYTES / sizeof(std::uint64_t)];
  hn::Store(hn::Add(a, b), d, last);
  return std::accumulate(last, last + lanes, std::uint64_t{0});
}

const char* simd_target() {
  return hwy::TargetName(HWY_TARGET);
}

}  // namespace miser::eval::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::eval {
namespace {

HWY_EXPORT(sum);
HWY_EXPORT(simd_target);

constexpr std::size_t kPieceWords = std::size_t{1} << 15U;  // 256 KiB: many pieces, few hand-outs
constexpr std::size_t kMiB = std::size_t{1} << 20U;

std::size_t system_value(int name, std::size_t fallback) {
  const long value = sysconf(name);
  return value > 0 ? static_cast<std::size_t>(value) : fallback;
}

}  // namespace

std::uint64_t sum(std::span<const std::uint64_t> words) {
  return HWY_DYNAMIC_DISPATCH(sum)(words.data(), words.size());
}

const char* simd_target() {
  return HWY_DYNAMIC_DISPATCH(simd_target)();
}

std::size_t uncached_bytes() {
  const std::size_t cache = system_value(_SC_LEVEL3_CACHE_SIZE, 0);
  const std::size_t free = system_value(_SC_AVPHYS_PAGES, 0) * system_value(_SC_PAGESIZE, 4096);
  return std::min(std::clamp(2 * cache, 256 * kMiB, 1024 * kMiB), std::max(free / 4, kMiB));
}

Bandwidth measure_bandwidth(std::size_t bytes, nn::ThreadPool& pool, const Clock& clock) {
  constexpr int kPasses = 5;
  const std::size_t n_pieces = std::max<std::size_t>(1, bytes / (kPieceWords * sizeof(std::uint64_t)));
  // Values are written so that every page is one of its own, not the system's shared page of zeros.
  const std::vector<std::uint64_t> buffer(n_pieces * kPieceWords, 1);
  std::atomic<std::uint64_t> total = 0;
  std::vector<double> rates;
  for (int pass = 0; pass <= kPasses; ++pass) {
    const double start = clock();
    pool.parallel_for(n_pieces, [&](std::size_t piece, int) {
      total += sum(std::span(buffer).subspan(piece * kPieceWords, kPieceWords));
    });
    const double seconds = clock() - start;
    const double read = static_cast<double>(buffer.size() * sizeof(std::uint64_t));
    if (pass > 0) rates.push_back(1e-9 * read / seconds);  // the first brings the buffer near
  }
  return {buffer.size() * sizeof(std::uint64_t), quantile(std::move(rates), 0.5)};
}

}  // namespace miser::eval
#endif  // HWY_ONCE
