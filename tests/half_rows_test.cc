// Dot products with binary16 rows and sums of them, on every SIMD target, against sums in double.
#include "kv/half_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "gguf/half.h"
#include "nn/ops.h"
#include "nn_targets.h"

namespace miser::kv {
namespace {

/// Rows in binary16, at an odd address and with nothing behind them, and the same as floats.
struct Rows {
  Rows(std::size_t n_rows, std::size_t dim, float size, std::mt19937& random)
      : n(n_rows), head_dim(dim), stored(1 + n_rows * dim * sizeof(std::uint16_t)), floats(n_rows * dim) {
    std::normal_distribution<float> normal(0, size);
    for (float& x : floats) x = std::clamp(normal(random), -65504.0F, 65504.0F);
    std::vector<std::uint16_t> halves(floats.size());
    nn::f32_to_f16(floats, halves);
    for (std::size_t i = 0; i < floats.size(); ++i) floats[i] = gguf::half_to_float(halves[i]);
    const auto bytes = std::as_bytes(std::span(halves));
    std::copy(bytes.begin(), bytes.end(), stored.begin() + 1);
  }
  HalfRows view() const { return {stored.data() + 1, n, head_dim}; }

  std::size_t n;
  std::size_t head_dim;
  std::vector<std::byte> stored;
  std::vector<float> floats;
};

std::vector<float> gaussian(std::size_t n, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& x : values) x = normal(random);
  return values;
}

/// Float rounding of a sum of `n` products whose magnitudes add up to `magnitude`: each product and each sum
/// rounds once, in any order.
double tolerance(std::size_t n, double magnitude) {
  return static_cast<double>(n + 1) * std::numeric_limits<float>::epsilon() * magnitude;
}

void check_scores(const Rows& rows, std::size_t n_q, std::mt19937& random) {
  const std::size_t dim = rows.head_dim;
  const std::size_t ld = rows.n + 3;
  const auto q = gaussian(n_q * dim, random);
  std::vector<float> scores(n_q * ld, -1.0F);
  score_half_rows(q.data(), n_q, rows.view(), scores.data(), ld);
  for (std::size_t r = 0; r < n_q; ++r) {
    for (std::size_t t = 0; t < ld; ++t) {
      double expected = 0;
      double magnitude = 0;
      for (std::size_t d = 0; d < dim && t < rows.n; ++d) {
        const double product = static_cast<double>(q[r * dim + d]) * rows.floats[t * dim + d];
        expected += product;
        magnitude += std::abs(product);
      }
      if (t >= rows.n) {
        ASSERT_EQ(scores[r * ld + t], -1.0F) << "written behind the last row";
      } else {
        ASSERT_NEAR(scores[r * ld + t], expected, tolerance(dim, magnitude)) << "query " << r << " row " << t;
      }
    }
  }
}

void check_sums(const Rows& rows, std::size_t n_q, std::mt19937& random) {
  const std::size_t dim = rows.head_dim;
  const std::size_t ld = rows.n + 3;
  const auto weights = gaussian(n_q * ld, random);
  const auto before = gaussian(n_q * dim, random);
  std::vector<float> sums = before;
  sums.push_back(-1.0F);
  add_half_rows(weights.data(), ld, n_q, rows.view(), sums.data());
  ASSERT_EQ(sums.back(), -1.0F) << "written behind the last sum";
  for (std::size_t r = 0; r < n_q; ++r) {
    for (std::size_t d = 0; d < dim; ++d) {
      double expected = before[r * dim + d];
      double magnitude = std::abs(expected);
      for (std::size_t t = 0; t < rows.n; ++t) {
        const double product = static_cast<double>(weights[r * ld + t]) * rows.floats[t * dim + d];
        expected += product;
        magnitude += std::abs(product);
      }
      ASSERT_NEAR(sums[r * dim + d], expected, tolerance(rows.n, magnitude))
          << "query " << r << " channel " << d;
    }
  }
}

void check_all(float size) {
  nn::for_each_target([&] {
    std::mt19937 random(20261125);
    for (const std::size_t head_dim : {1, 4, 8, 24, 32, 48, 64, 80, 100, 128, 256}) {
      for (const std::size_t n : {0, 1, 2, 3, 4, 5, 7, 31, 68}) {
        const Rows rows(n, head_dim, size, random);
        const std::size_t n_q = 1 + random() % 16;
        SCOPED_TRACE(std::to_string(n) + " rows of " + std::to_string(head_dim) + ", " + std::to_string(n_q) +
                     " queries");
        check_scores(rows, n_q, random);
        check_sums(rows, n_q, random);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  });
}

TEST(HalfRows, ScoresAndSumsAreThoseOfTheDefinition) {
  check_all(1);
}

TEST(HalfRows, SubnormalAndLargestValuesAreReadExactly) {
  check_all(0x1p-20F);
  check_all(60000);
}

TEST(HalfRows, EveryNumberOfQueriesIsServed) {
  nn::for_each_target([&] {
    std::mt19937 random(1);
    const Rows rows(21, 64, 1, random);
    for (std::size_t n_q = 0; n_q <= 20; ++n_q) {
      check_scores(rows, n_q, random);
      check_sums(rows, n_q, random);
    }
  });
}

}  // namespace
}  // namespace miser::kv
