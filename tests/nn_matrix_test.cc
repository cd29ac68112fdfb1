#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "base/error.h"
#include "nn/matrix.h"
#include "nn_targets.h"
#include "random_vectors.h"

namespace miser::nn {
namespace {

using gguf::TensorType;

constexpr std::size_t kInputCounts[] = {1, 2, 3, 7, 8, 9, 33, 200};
constexpr std::size_t kMaxInputCount = 200;

std::vector<float> random_floats(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(size);
  for (auto& value : values) value = normal(random);
  return values;
}

/// A block of random bits whose weights are finite; of moderate size where a block is one float.
void fill_block(const gguf::TensorFormat& format, std::mt19937& random, std::byte* block) {
  std::vector<float> values(format.block_elements);
  bool finite = false;
  while (!finite) {
    for (std::size_t i = 0; i < format.block_bytes; ++i) block[i] = static_cast<std::byte>(random());
    if (format.type == TensorType::kF32 || format.type == TensorType::kBF16) {
      const float value = std::normal_distribution<float>()(random);
      std::memcpy(block, reinterpret_cast<const std::byte*>(&value) + 4 - format.block_bytes,
                  format.block_bytes);
    }
    format.unpack(block, 1, values.data());
    finite = std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
  }
}

float half_at(const std::byte* bytes) {
  float value = 0;
  gguf::find_format(TensorType::kF16)->unpack(bytes, 1, &value);
  return value;
}

/// A random matrix, its weights as floats, and for each weight a bound of the numbers it is summed from.
struct Weights {
  Weights(const gguf::TensorFormat& tensor_format, std::size_t n_rows, std::size_t n_cols)
      : format(tensor_format), rows(n_rows), cols(n_cols), values(rows * cols), magnitudes(rows * cols) {
    const std::size_t n_blocks = rows * cols / format.block_elements;
    bytes.resize(n_blocks * format.block_bytes);
    std::mt19937 random(static_cast<unsigned>(rows * 10007 + cols));
    for (std::size_t block = 0; block < n_blocks; ++block) {
      fill_block(format, random, &bytes[block * format.block_bytes]);
    }
    format.unpack(bytes.data(), n_blocks, values.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      magnitudes[i] = magnitude(&bytes[i / format.block_elements * format.block_bytes], values[i]);
    }
    matrix = Matrix(gguf::Tensor{"weights", {cols, rows}, &format, bytes});
  }

  /// Row kernels sum code and offset apart: d q and -8 d, or d q and m.
  double magnitude(const std::byte* block, float value) const {
    if (format.type == TensorType::kQ4_0) return 23.0 * std::abs(half_at(block));
    if (format.type == TensorType::kQ4_1)
      return 15.0 * std::abs(half_at(block)) + std::abs(half_at(block + 2));
    return std::abs(value);
  }

  const gguf::TensorFormat& format;
  std::size_t rows, cols;
  std::vector<std::byte> bytes;
  std::vector<float> values;
  std::vector<double> magnitudes;
  Matrix matrix;
};

bool has_row_kernel(const gguf::TensorFormat& format) {
  const TensorType types[] = {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ8_0, TensorType::kF16};
  return std::ranges::find(types, format.type) != std::end(types);
}

bool is_rounded(const gguf::TensorFormat& format, std::size_t n) {
  return rounds_inputs(n) && has_row_kernel(format) && format.type != TensorType::kF16;
}

/// What integer products make of x: each block of 32 rounded to 65,535 levels up to its largest magnitude.
std::vector<float> rounded(std::vector<float> x) {
  for (std::size_t block = 0; block < x.size(); block += kQuantColumns) {
    test::round_to_levels(std::span(x).subspan(block, kQuantColumns));
  }
  return x;
}

/// Products in double and how far a float product may be from them.
struct Expected {
  Expected(const Weights& w, const std::vector<float>& x, std::size_t n) : y(n * w.rows), bounds(n * w.rows) {
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t r = 0; r < w.rows; ++r) {
        double sum = 0;
        double magnitude = 0;
        for (std::size_t c = 0; c < w.cols; ++c) {
          const double value = x[i * w.cols + c];
          sum += w.values[r * w.cols + c] * value;
          magnitude += w.magnitudes[r * w.cols + c] * std::abs(value);
        }
        y[i * w.rows + r] = sum;
        // At most one rounding per column in any order of summation, and a few of scales and unpacking.
        bounds[i * w.rows + r] =
            std::numeric_limits<float>::epsilon() * static_cast<double>(w.cols + 8) * magnitude;
      }
    }
  }

  std::vector<double> y, bounds;
};

void expect_close(const std::vector<float>& y, const Expected& expected) {
  for (std::size_t i = 0; i < y.size(); ++i)
    ASSERT_NEAR(y[i], expected.y[i], expected.bounds[i]) << "element " << i;
}

void check_shape(const gguf::TensorFormat& format, std::size_t rows, std::size_t cols, ThreadPool& pool) {
  const Weights w(format, rows, cols);
  const auto x = random_floats(kMaxInputCount * cols, 5);
  const Expected exact(w, x, kMaxInputCount);
  const Expected of_levels(w, is_rounded(format, 1) ? rounded(x) : x, kMaxInputCount);
  const auto check = [&] {
    for (const std::size_t n : kInputCounts) {
      SCOPED_TRACE(testing::Message() << format.name << " " << rows << " x " << cols << ", n " << n);
      std::vector<float> y(n * rows, std::numeric_limits<float>::quiet_NaN());
      const Product product{&w.matrix, y.data()};
      multiply({&product, 1}, x.data(), n, pool);
      expect_close(y, is_rounded(format, n) ? of_levels : exact);
    }
  };
  has_row_kernel(format) ? for_each_target(check) : check();
}

TEST(Matrix, ProductsOfAllFormatsEqualADoubleLoop) {
  ThreadPool pool(2);
  for (const auto& format : gguf::all_formats()) {
    for (const std::size_t rows : {1, 15, 16, 17, 100}) {
      for (const std::size_t cols : {32, 96, 256, 2048}) {
        if (cols == 2048 && rows > 17) continue;  // 64 blocks a row are covered by fewer rows
        if (cols % format.block_elements == 0) check_shape(format, rows, cols, pool);
      }
    }
  }
}

TEST(Matrix, UnblockedFormatsMayHaveAnyNumberOfColumns) {
  ThreadPool pool(1);
  for (const auto type : {TensorType::kF32, TensorType::kF16, TensorType::kBF16}) {
    for (const std::size_t cols : {1, 2, 31, 33}) check_shape(*gguf::find_format(type), 17, cols, pool);
  }
}

TEST(Matrix, ResultsDoNotDependOnTheNumberOfThreads) {
  for (const auto type : {TensorType::kQ4_1, TensorType::kQ8_0, TensorType::kQ6_K}) {
    const Weights w(*gguf::find_format(type), 300, 512);
    for (const std::size_t n : {1, 5, 64}) {
      const auto x = random_floats(n * w.cols, 6);
      std::vector<std::vector<float>> results;
      for (const int n_threads : {1, 2, 3, 8}) {
        ThreadPool pool(n_threads);
        const Product product{&w.matrix, results.emplace_back(n * w.rows).data()};
        multiply({&product, 1}, x.data(), n, pool);
        EXPECT_EQ(results.back(), results.front()) << n_threads << " threads, n " << n;
      }
    }
  }
}

TEST(Matrix, ExtremeInputsStayExactOrBecomeNaN) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  ThreadPool pool(1);
  for (const auto type : {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ8_0}) {
    const Weights w(*gguf::find_format(type), 16, 64);
    for_each_target([&] {
      for (const float value : {0.0F, kTiny, 1e-30F, -65504.0F, 1e30F, kInfinity, -kInfinity,
                                std::numeric_limits<float>::quiet_NaN()}) {
        SCOPED_TRACE(value);
        std::vector<float> x(w.cols);
        x[3] = value;  // the second block stays zero
        std::vector<float> y(w.rows);
        const Product product{&w.matrix, y.data()};
        multiply({&product, 1}, x.data(), 1, pool);
        for (std::size_t r = 0; r < w.rows; ++r) {
          const double expected = static_cast<double>(w.values[r * w.cols + 3]) * value;
          if (!std::isfinite(value)) {
            EXPECT_TRUE(std::isnan(y[r]));
          } else {
            EXPECT_NEAR(y[r], expected, 4e-6 * std::abs(w.magnitudes[r * w.cols + 3] * value) + 1e-30);
          }
        }
      }
    });
  }
}

TEST(Matrix, RowOfAProductDoesNotDependOnTheRowsBesideIt) {
  ThreadPool pool(1);
  for (const auto type : {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ8_0, TensorType::kF16}) {
    const Weights w(*gguf::find_format(type), 33, 96);
    const auto x = random_floats((kManyRows - 1) * w.cols, 8);
    for_each_target([&] {
      std::vector<float> together((kManyRows - 1) * w.rows);
      const Product all{&w.matrix, together.data()};
      multiply({&all, 1}, x.data(), kManyRows - 1, pool);
      for (std::size_t i = 0; i + 1 < kManyRows; ++i) {
        std::vector<float> alone(w.rows);
        const Product one{&w.matrix, alone.data()};
        multiply({&one, 1}, &x[i * w.cols], 1, pool);
        EXPECT_TRUE(std::equal(alone.begin(), alone.end(), &together[i * w.rows]))
            << w.format.name << " row " << i;
      }
    });
  }
}

TEST(Matrix, ProductsOfMixedFormatsShareOneLoop) {
  ThreadPool pool(2);
  const Weights q(*gguf::find_format(TensorType::kQ4_1), 96, 256);
  const Weights k(*gguf::find_format(TensorType::kQ6_K), 33, 256);
  const Weights v(*gguf::find_format(TensorType::kF16), 32, 256);
  for (const std::size_t n : {2, 40}) {
    const auto x = random_floats(n * 256, 7);
    std::vector<float> yq(n * q.rows);
    std::vector<float> yk(n * k.rows);
    std::vector<float> yv(n * v.rows);
    const Product products[] = {{&q.matrix, yq.data()}, {&k.matrix, yk.data()}, {&v.matrix, yv.data()}};
    multiply(products, x.data(), n, pool);
    expect_close(yq, Expected(q, is_rounded(q.format, n) ? rounded(x) : x, n));
    expect_close(yk, Expected(k, x, n));
    expect_close(yv, Expected(v, x, n));
  }
}

TEST(Matrix, RowIsTheUnpackedRowOfTheFile) {
  for (const auto& format : gguf::all_formats()) {
    const Weights w(format, 18, 256);
    std::vector<float> row(w.cols);
    for (const std::size_t r : {0, 15, 16, 17}) {
      w.matrix.row(r, row);
      EXPECT_TRUE(std::equal(row.begin(), row.end(), &w.values[r * w.cols])) << format.name << " row " << r;
    }
  }
}

TEST(Matrix, BytesAreThoseOfTheFileUpToWholeTiles) {
  for (const auto& format : gguf::all_formats()) {
    const Weights w(format, 32, 256);
    EXPECT_EQ(w.matrix.bytes(), w.bytes.size()) << format.name;
  }
  EXPECT_EQ(Weights(*gguf::find_format(TensorType::kQ4_1), 17, 64).matrix.bytes(), 32U * 2U * 20U);
}

TEST(Matrix, OneDimensionalTensorIsOneRow) {
  const std::vector<float> values = {1, 2, 3};
  const Matrix matrix(
      gguf::Tensor{"norm", {3}, gguf::find_format(TensorType::kF32), std::as_bytes(std::span(values))});
  EXPECT_EQ(matrix.rows(), 1U);
  EXPECT_EQ(matrix.cols(), 3U);
}

TEST(Matrix, UnknownFormatIsAnError) {
  EXPECT_THROW(Matrix(gguf::Tensor{"w", {32, 1}, nullptr, {}}), Error);
}

}  // namespace
}  // namespace miser::nn
