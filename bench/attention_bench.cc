// Attention::forward alone, on a random cache of SmolLM2-135M's shape: the time of one layer and call, and
// the rate at which the cache is read. The cache has several layers, used in turn, so that it does not stay
// in L2.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kv/attention.h"

namespace miser::kv {
namespace {

/// Shares of widths of a controller's keys and values at 2.75 bits, or one width for all.
struct Mix {
  const char* name;
  std::array<double, kWidthCount> shares;
};
constexpr Mix kMixes[] = {{"f16", {0, 0, 0, 0, 0, 1}},
                          {"mix", {45, 15, 15, 18, 7, 0}},
                          {"q8", {0, 0, 0, 0, 1, 0}},
                          {"q4", {0, 0, 0, 1, 0, 0}},
                          {"q2", {0, 1, 0, 0, 0, 0}}};

/// Widths from the shares; the prototype's signals are not asked for.
class RandomWidths final : public WidthChooser {
 public:
  explicit RandomWidths(const Mix& mix) : shares_(mix.shares.begin(), mix.shares.end()) {}
  bool wants_received() const override { return true; }
  void choose(const LeavingBlock&, BlockWidths& widths) override {
    for (Width& width : widths.k) width = draw();
    for (Width& width : widths.v) width = draw();
  }
  Width draw() { return kAllWidths[shares_(random_)]; }

 private:
  std::mt19937 random_{1};
  std::discrete_distribution<std::size_t> shares_;
};

std::vector<float> gaussian(std::size_t n) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  // Multiples of 1/256 below 8 are binary16 numbers, as Segment::append wants them.
  for (float& value : x) value = std::round(normal(random) * 256) / 256;
  return x;
}

CacheConfig shape(std::size_t n_layers, std::size_t depth) {
  CacheConfig config;
  config.n_layers = n_layers;
  config.n_kv_heads = 3;
  config.n_heads = 9;
  config.head_dim = 64;
  config.context = depth + (1 << 20);
  return config;
}

/// Packs the positions before `depth` without attending: all segments from copies of one per side.
void fill(Cache& cache, std::size_t depth, RandomWidths& widths) {
  const std::size_t head_dim = cache.config().head_dim;
  const auto rows = gaussian(Segment::kMaxTokens * head_dim);
  for (std::size_t l = 0; l < cache.config().n_layers; ++l) {
    LayerCache& layer = cache.layer(l);
    layer.staged_begin = layer.n_tokens = depth;
    layer.reserve_exact(layer.exact_rows(), true);
    for (std::size_t s = 0; s < depth / Segment::kMaxTokens; ++s) {
      for (std::size_t g = 0; g < layer.heads.size(); ++g) {
        for (auto* side : {&layer.heads[g].k, &layer.heads[g].v}) {
          std::vector<Width> chosen(s == 0 ? Segment::kMaxTokens - cache.config().sinks
                                           : Segment::kMaxTokens);
          for (Width& width : chosen) width = widths.draw();
          Segment& segment = side->emplace_back(cache.memory());
          segment.append(chosen, std::span(rows).first(chosen.size() * head_dim),
                         side == &layer.heads[g].k ? cache.key_side(l, g) : cache.value_side(l, g));
        }
      }
    }
  }
}

/// Calls with `n` queries in a row, from `depth` on. Few queries stay within one segment beyond it.
void attend(benchmark::State& state) {
  const Mix& mix = kMixes[state.range(0)];
  const auto depth = static_cast<std::size_t>(state.range(1));
  const auto n = static_cast<std::size_t>(state.range(2));
  const std::size_t n_layers = 4;
  nn::ThreadPool pool(static_cast<int>(state.range(3)));
  const CacheConfig config = shape(n_layers, depth);
  RandomWidths widths(mix);
  Cache cache(config);
  fill(cache, depth, widths);
  Attention attention(cache, pool);
  const auto q = gaussian(n * config.n_heads * config.head_dim);
  const auto kv = gaussian(n * config.n_kv_heads * config.head_dim);
  std::vector<float> out(q.size());
  std::size_t layer = 0;
  const std::size_t bytes = cache.bytes();
  for ([[maybe_unused]] auto _ : state) {
    attention.forward({layer, n, q.data(), kv.data(), kv.data(), out.data(), nullptr}, widths);
    benchmark::DoNotOptimize(out.data());
    layer = (layer + 1) % n_layers;
  }
  state.SetLabel(mix.name);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes / n_layers));
}

void decode_arguments(benchmark::internal::Benchmark* benchmark) {
  for (const std::int64_t depth : {0, 2048, 8192, 32768}) {
    for (std::int64_t mix = 0; mix < 5; ++mix) benchmark->Args({mix, depth, 1, 1});
  }
}
BENCHMARK(attend)
    ->Name("decode")
    ->Apply(decode_arguments)
    ->ArgNames({"mix", "depth", "n", "threads"})
    ->Iterations(1000)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

BENCHMARK(attend)
    ->Name("few")
    ->ArgsProduct({{0, 1}, {8192}, {1, 2, 3, 4, 5, 6, 8}, {2}})
    ->ArgNames({"mix", "depth", "n", "threads"})
    ->Iterations(64)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

BENCHMARK(attend)
    ->Name("prefill")
    ->ArgsProduct({{0, 1, 3}, {0, 8192, 32768}, {512}, {2}})
    ->ArgNames({"mix", "depth", "n", "threads"})
    ->Iterations(4)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace miser::kv
