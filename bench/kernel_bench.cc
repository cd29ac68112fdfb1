// Scores, value sums and unpacking of whole packed segments. Rates are segment bytes per second; `ns` is per
// vector, and `memory` the share of what one thread reads from memory in the same run.
#include <benchmark/benchmark.h>

#include <cmath>
#include <random>
#include <vector>

#include "eval/bandwidth.h"
#include "kv/online_softmax.h"
#include "kv/packed.h"

namespace miser::kv {
namespace {

constexpr int kMixed = 6;  // in place of a width

std::vector<float> gaussian(std::size_t n) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  // Multiples of 1/256 below 8 are binary16 numbers, as Segment::append wants them.
  for (float& value : x) value = std::round(normal(generator) * 256) / 256;
  return x;
}

/// One width for all, or mixed to 2.75 bits.
std::vector<Width> widths_of(std::int64_t choice) {
  std::mt19937 generator(2);
  std::discrete_distribution<std::size_t> shares({45, 15, 15, 18, 7, 0});
  std::vector<Width> widths(Segment::kMaxTokens);
  for (Width& width : widths) width = kAllWidths[choice == kMixed ? shares(generator) : choice];
  return widths;
}

/// Enough segments to leave L1 and fill L2, as in decoding.
struct Segments {
  Segments(SideKind kind, std::int64_t width, std::size_t head_dim)
      : rotation(head_dim), centre(head_dim), side{&rotation, centre, ScaleRule::kUnbiased, kind} {
    const auto rows = gaussian(Segment::kMaxTokens * head_dim);
    for (int i = 0; i < 32; ++i) {
      all.emplace_back(&memory);
      all.back().append(widths_of(width), rows, side);
    }
  }
  Rotation rotation;
  std::vector<float> centre;
  Side side;
  CountingResource memory{std::pmr::new_delete_resource()};
  std::vector<Segment> all;
};

double memory_bytes_per_second() {
  static const double rate = [] {
    nn::ThreadPool one(1);
    return eval::measure_bandwidth(std::size_t{256} << 20, one).gb_per_s * 1e9;
  }();
  return rate;
}

/// Calls f for the segments in turn.
template <typename F>
void run(benchmark::State& state, const Segments& segments, F&& f) {
  std::size_t i = 0;
  for ([[maybe_unused]] auto _ : state) {
    f(segments.all[i++ % segments.all.size()]);
    benchmark::ClobberMemory();
  }
  const auto n = static_cast<double>(state.iterations());
  state.counters["ns"] = benchmark::Counter(n * Segment::kMaxTokens * 1e-9,
                                            benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  const std::size_t bytes = segments.all[0].heap_bytes();
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes));
  state.counters["memory"] = benchmark::Counter(static_cast<double>(bytes) / memory_bytes_per_second(),
                                                benchmark::Counter::kIsIterationInvariantRate);
}

/// Every width at the usual head sizes and groups of 1, 3 and 8 queries; 4 bits and the mix at all sizes.
void arguments(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"width", "head_dim", "rows"});
  benchmark->ArgsProduct({{0, 1, 2, 3, 4, 5, kMixed}, {64, 128}, {1, 3, 8}});
  benchmark->ArgsProduct({{3, kMixed}, {32, 48, 80, 96, 256}, {3}});
}

void key_scores(benchmark::State& state) {
  const std::size_t head_dim = state.range(1);
  const std::size_t n_rows = state.range(2);
  const Segments segments(SideKind::kKeys, state.range(0), head_dim);
  const auto q = gaussian(n_rows * head_dim);
  const std::vector<float> zeros(n_rows);
  PackedQueries queries;
  queries.prepare({n_rows, q.data(), q.data(), zeros.data(), zeros.data()}, head_dim);
  std::vector<float> scores(n_rows * Segment::kMaxTokens);
  PackedScratch scratch;
  run(state, segments, [&](const Segment& s) {
    kv::key_scores(s, segments.side, queries, scores.data(), Segment::kMaxTokens, scratch);
  });
}
BENCHMARK(key_scores)->Apply(arguments);

void value_sums(benchmark::State& state) {
  const std::size_t head_dim = state.range(1);
  const std::size_t n_rows = state.range(2);
  const Segments segments(SideKind::kValues, state.range(0), head_dim);
  std::vector<float> weights = gaussian(n_rows * Segment::kMaxTokens);
  for (float& w : weights) w = std::exp(w - 3);
  std::vector<float> plain(n_rows * head_dim);
  std::vector<float> rotated(n_rows * head_dim);
  std::vector<float> centred(n_rows);
  PackedScratch scratch;
  run(state, segments, [&](const Segment& s) {
    add_values(s, segments.side, weights.data(), Segment::kMaxTokens, n_rows,
               {plain.data(), rotated.data(), centred.data()}, scratch);
  });
}
BENCHMARK(value_sums)->Apply(arguments);

void unpack(benchmark::State& state) {
  const Segments segments(state.range(2) == 0 ? SideKind::kKeys : SideKind::kValues, state.range(0),
                          state.range(1));
  Tile tile;
  run(state, segments, [&](const Segment& s) { s.unpack(segments.side, tile); });
}
BENCHMARK(unpack)
    ->ArgsProduct({{0, 1, 2, 3, 4, 5, kMixed}, {64, 128}, {0, 1}})
    ->ArgNames({"width", "head_dim", "values"});

}  // namespace
}  // namespace miser::kv
