// Weight products of SmolLM2-135M at 1 to 512 rows of x: `layer` is one of its 30 layers' products, and
// `output` the vocabulary projection. GB/s counts packed weight bytes, GFLOP/s two operations per weight and
// row.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "gguf/tensor_type.h"
#include "nn/matrix.h"

namespace miser::nn {
namespace {

constexpr std::size_t kLayers = 30;

/// A matrix of random codes with small scales.
struct RandomWeights {
  RandomWeights(gguf::TensorType type, std::size_t rows, std::size_t cols) {
    const gguf::TensorFormat& format = *gguf::find_format(type);
    const std::size_t n_blocks = rows * cols / format.block_elements;
    bytes.resize(n_blocks * format.block_bytes);
    std::minstd_rand random(1);
    for (auto& byte : bytes) byte = static_cast<std::byte>(random() >> 8);
    // The high bytes of scale and minimum: binary16 numbers near 0.01.
    for (std::size_t block = 0; block < n_blocks; ++block) {
      std::byte* const at = &bytes[block * format.block_bytes];
      at[1] = std::byte{0x21};
      if (type == gguf::TensorType::kQ4_1) at[3] = std::byte{0xA1};
    }
    matrix = Matrix(gguf::Tensor{"random", {cols, rows}, &format, bytes});
  }

  std::vector<std::byte> bytes;
  Matrix matrix;
};

/// Products of one or more matrices with one x.
void run(benchmark::State& state, const std::vector<std::vector<const Matrix*>>& groups) {
  const auto n = static_cast<std::size_t>(state.range(0));
  ThreadPool pool(static_cast<int>(state.range(1)));
  std::size_t bytes = 0;
  std::size_t weights = 0;
  std::vector<std::vector<float>> outputs;
  std::vector<std::vector<Product>> products;
  const std::vector<float> x(n * 1536, 0.5F);
  for (const auto& group : groups) {
    products.emplace_back();
    for (const Matrix* w : group) {
      outputs.emplace_back(n * w->rows());
      products.back().push_back({w, outputs.back().data()});
      bytes += w->bytes();
      weights += w->rows() * w->cols();
    }
  }
  for ([[maybe_unused]] auto _ : state) {
    for (const auto& group : products) multiply(group, x.data(), n, pool);
  }
  const auto per_second = benchmark::Counter::kIsIterationInvariantRate;
  state.counters["GB/s"] = benchmark::Counter(1e-9 * static_cast<double>(bytes), per_second);
  state.counters["GFLOP/s"] = benchmark::Counter(2e-9 * static_cast<double>(weights * n), per_second);
}

/// All layers, each with weights of its own so that they come from memory as in a model.
void layers(benchmark::State& state) {
  static const std::vector<RandomWeights> random_weights = [] {
    std::vector<RandomWeights> weights;
    for (std::size_t layer = 0; layer < kLayers; ++layer) {
      for (const auto& [rows, cols] :
           {std::pair{576, 576}, {192, 576}, {192, 576}, {576, 576}, {1536, 576}, {1536, 576}, {576, 1536}}) {
        weights.emplace_back(gguf::TensorType::kQ4_1, rows, cols);
      }
    }
    return weights;
  }();
  std::vector<std::vector<const Matrix*>> groups;
  for (std::size_t layer = 0; layer < kLayers; ++layer) {
    const RandomWeights* const w = &random_weights[layer * 7];
    groups.push_back({&w[0].matrix, &w[1].matrix, &w[2].matrix});
    groups.push_back({&w[3].matrix});
    groups.push_back({&w[4].matrix, &w[5].matrix});
    groups.push_back({&w[6].matrix});
  }
  run(state, groups);
}
BENCHMARK(layers)
    ->ArgNames({"n", "threads"})
    ->ArgsProduct({{1, 2, 4, 8, 12, 16, 24, 32, 128, 512}, {1, 2}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

void output(benchmark::State& state) {
  static const RandomWeights random_weights(gguf::TensorType::kQ8_0, 49152, 576);
  run(state, {{&random_weights.matrix}});
}
BENCHMARK(output)
    ->ArgNames({"n", "threads"})
    ->ArgsProduct({{1, 8, 32, 512}, {1, 2}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace miser::nn
