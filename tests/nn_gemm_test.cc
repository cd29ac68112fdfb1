#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "nn/gemm.h"

namespace miser::nn {
namespace {

struct Case {
  std::size_t m, n, k;
  float alpha, beta;
  bool transposed;  // B is [n, k]
};

constexpr std::size_t kPadding = 3;  // row strides exceed the widths by so much

std::vector<float> random_floats(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(size);
  for (auto& value : values) value = normal(random);
  return values;
}

void check(const Case& t) {
  const std::size_t lda = t.k + kPadding;
  const std::size_t ldb = (t.transposed ? t.k : t.n) + kPadding;
  const std::size_t ldc = t.n + kPadding;
  const auto a = random_floats(t.m * lda, 1);
  const auto b = random_floats((t.transposed ? t.n : t.k) * ldb + kPadding, 2);
  const auto before = t.beta == 0.0F ? std::vector<float>(t.m * ldc, std::numeric_limits<float>::quiet_NaN())
                                     : random_floats(t.m * ldc, 3);
  auto c = before;
  (t.transposed ? gemm_nt : gemm_nn)(t.m, t.n, t.k, t.alpha, a.data(), lda, b.data(), ldb, t.beta, c.data(),
                                     ldc);

  for (std::size_t i = 0; i < t.m; ++i) {
    for (std::size_t j = 0; j < ldc; ++j) {
      const float old = before[i * ldc + j];
      if (j >= t.n) {
        EXPECT_TRUE(std::isnan(old) ? std::isnan(c[i * ldc + j]) : c[i * ldc + j] == old)
            << "padding was written";
        continue;
      }
      double sum = 0;
      double magnitude = 0;
      for (std::size_t p = 0; p < t.k; ++p) {
        const double product =
            static_cast<double>(a[i * lda + p]) * (t.transposed ? b[j * ldb + p] : b[p * ldb + j]);
        sum += product;
        magnitude += std::abs(product);
      }
      const double kept = t.beta == 0.0F ? 0.0 : static_cast<double>(t.beta) * old;
      // k roundings of sums that never exceed the magnitude, and a few of alpha and beta.
      const double bound = std::numeric_limits<float>::epsilon() * static_cast<double>(t.k + 4) *
                           (std::abs(t.alpha) * magnitude + std::abs(kept));
      ASSERT_NEAR(c[i * ldc + j], t.alpha * sum + kept, bound)
          << "m " << t.m << " n " << t.n << " k " << t.k << " beta " << t.beta << " nt " << t.transposed;
    }
  }
}

TEST(Gemm, EqualsADoubleLoop) {
  for (const std::size_t m : {1, 3, 4, 5, 33, 130}) {
    for (const std::size_t n : {1, 3, 4, 64, 101}) {
      for (const std::size_t k : {0, 1, 5, 64, 150}) {
        for (const bool transposed : {false, true}) {
          check({m, n, k, 1.0F, 0.0F, transposed});
          check({m, n, k, 0.125F, 1.5F, transposed});
        }
      }
    }
  }
}

TEST(Gemm, EmptyResultsAreNoOps) {
  float c = 7.0F;
  gemm_nt(0, 1, 1, 1.0F, nullptr, 1, nullptr, 1, 0.0F, &c, 1);
  gemm_nn(1, 0, 1, 1.0F, nullptr, 1, nullptr, 1, 0.0F, &c, 1);
  EXPECT_EQ(c, 7.0F);
}

/// C [m, n] of the first rows of A.
std::vector<float> product(bool transposed, std::size_t m, std::size_t n, std::size_t k,
                           const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<float> c(m * n);
  (transposed ? gemm_nt : gemm_nn)(m, n, k, 1.0F, a.data(), k, b.data(), transposed ? k : n, 0.0F, c.data(),
                                   n);
  return c;
}

TEST(Gemm, RowsOfAnIndependentNumberDependOnNoOthers) {
  constexpr std::size_t kMost = 1080;
  for (const bool transposed : {false, true}) {
    for (const std::size_t n : {5, 16, 37, 64}) {
      for (const std::size_t k : {32, 200, 576}) {
        const auto a = random_floats(kMost * k, 1);
        const auto b = random_floats(n * k, 2);
        const auto all = product(transposed, kMost, n, k, a, b);
        for (std::size_t m = 1; m <= kMost; m = independent_rows(m) + 1) {
          const auto rows = product(transposed, independent_rows(m), n, k, a, b);
          ASSERT_TRUE(std::equal(rows.begin(), rows.end(), all.begin()))
              << "m " << independent_rows(m) << " n " << n << " k " << k << " nt " << transposed;
        }
      }
    }
  }
}

}  // namespace
}  // namespace miser::nn
