#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "eval/clock.h"
#include "model/model.h"
#include "nn/thread_pool.h"
#include "session/session.h"

namespace miser::eval {

struct SpeedProgress {
  std::size_t depth;
  std::string kv;
  std::size_t round;  ///< 0 is the warm-up
};

struct SpeedOptions {
  std::vector<std::string> kv = {"f16", "q8", "q4"};
  std::vector<std::size_t> depths = {0};  ///< ascending
  std::size_t n_prompt = 512;             ///< 0: prefill is not measured
  std::size_t n_gen = 32;                 ///< 0: decoding is not measured
  std::size_t repetitions = 5;
  std::uint64_t seed = 1;  ///< of the tokens
  SessionOptions session;  ///< all but kv
  Clock clock = steady_seconds;
  std::function<void(const SpeedProgress&)> on_progress;  ///< may be empty
};

/// Samples of one quantity, a repetition each.
struct Speed {
  std::vector<double> tok_per_s;  ///< empty when not measured
  double median = 0;
  double deviation = 0;  ///< median absolute deviation from the median
  double ratio = 0;      ///< to the first policy: median over repetitions of the ratio within each
};

struct SpeedRow {
  std::string kv;
  std::size_t depth = 0;
  Speed prefill;                ///< n_prompt tokens after `depth` others
  Speed decode;                 ///< n_gen tokens one by one after `depth` others
  std::size_t kv_bytes = 0;     ///< of the cache at that depth
  double bits_per_element = 0;  ///< of the cache at that depth; 0 when it is empty
  double decode_kv_bytes = 0;   ///< read per decoded token, mean over the n_gen
};

/// Times every policy at every depth: [depths, kv] rows. Within a repetition the policies take turns, so that
/// a machine that slows down slows all of them; each starts from a copy of the same cache at exactly that
/// depth. One round at each depth is thrown away as warm-up. Throws UsageError for an unknown policy, Error
/// when the context is too short.
std::vector<SpeedRow> measure_speed(const Model& model, nn::ThreadPool& pool, const SpeedOptions& options);

/// Share of the physical limit that `tok_per_s` reaches when each token reads `bytes` at `gb_per_s`.
double roofline_share(double tok_per_s, double bytes, double gb_per_s);

}  // namespace miser::eval
