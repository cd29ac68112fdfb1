// Encoding, decoding and rotation of one vector, and unpacking of a segment. Rates are vectors per second.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kv/segment.h"

namespace miser::kv {
namespace {

std::vector<float> gaussian(std::size_t n) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(n);
  // Multiples of 1/256 below 8 are binary16 numbers, as Segment::append wants them.
  for (float& value : x) value = std::round(normal(generator) * 256) / 256;
  return x;
}

void vectors_per_second(benchmark::State& state, std::size_t vectors) {
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(vectors));
}

constexpr std::size_t kVectors = 64;  // different ones in turn, so that branch predictors learn no codes

void encode_vector(benchmark::State& state) {
  const Width width = kAllWidths[state.range(0)];
  const std::size_t head_dim = state.range(1);
  const auto x = gaussian(kVectors * head_dim);
  std::vector<std::byte> payload(payload_bytes(width, head_dim));
  for ([[maybe_unused]] auto _ : state) {
    for (std::size_t i = 0; i < kVectors; ++i) {
      const auto row = std::span(x).subspan(i * head_dim, head_dim);
      benchmark::DoNotOptimize(encode(width, row, ScaleRule::kUnbiased, payload));
      benchmark::ClobberMemory();
    }
  }
  vectors_per_second(state, kVectors);
}
BENCHMARK(encode_vector)->ArgsProduct({{0, 1, 2, 3, 4}, {32, 64, 128, 256}})->ArgNames({"width", "head_dim"});

void decode_vector(benchmark::State& state) {
  const Width width = kAllWidths[state.range(0)];
  const std::size_t head_dim = state.range(1);
  std::vector<std::byte> payload(payload_bytes(width, head_dim));
  encode(width, gaussian(head_dim), ScaleRule::kUnbiased, payload);
  std::vector<float> out(head_dim);
  for ([[maybe_unused]] auto _ : state) {
    decode(width, payload, 0.5F, out);
    benchmark::ClobberMemory();
  }
  vectors_per_second(state, 1);
}
BENCHMARK(decode_vector)->ArgsProduct({{0, 1, 2, 3, 4}, {32, 64, 128, 256}})->ArgNames({"width", "head_dim"});

void rotate_vector(benchmark::State& state) {
  const Rotation rotation(state.range(0));
  auto x = gaussian(rotation.head_dim());
  for ([[maybe_unused]] auto _ : state) {
    rotation.apply(x);
    benchmark::ClobberMemory();
  }
  vectors_per_second(state, 1);
}
BENCHMARK(rotate_vector)->Arg(64)->Arg(128)->ArgName("head_dim");

/// A full segment with the shares of widths that a controller chose at 2.75 bits (K), or all at 4 bits.
std::vector<Width> full_segment(bool mixed) {
  std::mt19937 generator(2);
  std::discrete_distribution<std::size_t> shares({30, 17, 19, 22, 12, 0});
  std::vector<Width> widths(Segment::kMaxTokens, Width::k4);
  if (mixed) {
    for (Width& width : widths) width = kAllWidths[shares(generator)];
  }
  return widths;
}

/// The last block of 32 of a full segment: what is packed every 32 tokens, for each layer, KV head and side.
void append_block(benchmark::State& state) {
  constexpr std::size_t kHeadDim = 64;
  constexpr std::size_t kBlockTokens = 32;
  constexpr std::size_t kBefore = Segment::kMaxTokens - kBlockTokens;
  const auto widths = full_segment(state.range(0) != 0);
  const Rotation rotation(kHeadDim);
  const std::vector<float> centre(kHeadDim);
  const Side side{&rotation, centre, ScaleRule::kUnbiased};
  const auto rows = gaussian(widths.size() * kHeadDim);
  CountingResource memory(std::pmr::new_delete_resource());
  Segment before(&memory);
  before.append(std::span(widths).first(kBefore), std::span(rows).first(kBefore * kHeadDim), side);
  for ([[maybe_unused]] auto _ : state) {
    Segment segment(before, &memory);
    segment.append(std::span(widths).last(kBlockTokens), std::span(rows).last(kBlockTokens * kHeadDim), side);
    benchmark::ClobberMemory();
  }
  vectors_per_second(state, kBlockTokens);
}
BENCHMARK(append_block)->Arg(0)->Arg(1)->ArgName("mixed");

void unpack_segment(benchmark::State& state) {
  constexpr std::size_t kHeadDim = 64;
  const auto widths = full_segment(state.range(0) != 0);
  const Rotation rotation(kHeadDim);
  const std::vector<float> centre(kHeadDim);
  const Side side{&rotation, centre, ScaleRule::kUnbiased};
  CountingResource memory(std::pmr::new_delete_resource());
  Segment segment(&memory);
  segment.append(widths, gaussian(widths.size() * kHeadDim), side);
  Tile tile;
  for ([[maybe_unused]] auto _ : state) {
    segment.unpack(side, tile);
    benchmark::ClobberMemory();
  }
  vectors_per_second(state, widths.size());
}
BENCHMARK(unpack_segment)->Arg(0)->Arg(1)->ArgName("mixed");

}  // namespace
}  // namespace miser::kv
