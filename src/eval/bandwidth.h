#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "eval/clock.h"
#include "nn/thread_pool.h"

namespace miser::eval {

/// How fast all threads together read memory.
struct Bandwidth {
  std::size_t bytes = 0;  ///< size of the buffer
  double gb_per_s = 0;    ///< 1e9 bytes per second; median of several passes
};

/// Times a read-only sum over a buffer of about `bytes`, each thread in turn taking pieces of it.
/// Throws std::bad_alloc when there is no memory for it.
Bandwidth measure_bandwidth(std::size_t bytes, nn::ThreadPool& pool, const Clock& clock = steady_seconds);

/// A size of buffer that no cache holds: twice the last-level cache the system tells of, between 256 MiB
/// and 1 GiB, at most a quarter of the free memory.
std::size_t uncached_bytes();

/// Sum modulo 2^64, by the vector instructions of this CPU. REQUIRES: a multiple of 64 elements.
std::uint64_t sum(std::span<const std::uint64_t> words);

/// Highway's name of the instruction set that kernels use on this CPU: "AVX3_ZEN4".
const char* simd_target();

}  // namespace miser::eval
