#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "nn/ops.h"
#include "nn_targets.h"

namespace miser::nn {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
// Below one vector, vectors with and without a rest, a model's width.
constexpr std::size_t kLengths[] = {1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 100, 576};

std::vector<float> random_floats(std::size_t size, float scale = 1.0F) {
  std::mt19937 random(static_cast<unsigned>(size));
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<float> values(size);
  for (auto& value : values) value = normal(random);
  return values;
}

/// first, first + step, ... (n values).
std::vector<float> steps(float first, float step, int n) {
  std::vector<float> values;
  values.reserve(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) values.push_back(first + step * static_cast<float>(i));
  return values;
}

TEST(Ops, RmsNormDividesByTheRootMeanSquare) {
  for_each_target([] {
    for (const std::size_t n : kLengths) {
      const auto x = random_floats(n, 3.0F);
      const auto weight = random_floats(n);
      double squares = 0;
      for (const float v : x) squares += static_cast<double>(v) * v;
      const double factor = 1.0 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
      auto out = x;
      rms_norm(out, weight, 1e-5F, out);  // in place
      for (std::size_t i = 0; i < n; ++i) {
        // The sum of n positive squares and half a dozen further roundings.
        const double expected = x[i] * factor * weight[i];
        ASSERT_NEAR(out[i], expected, kEpsilon * static_cast<double>(n + 6) * std::abs(expected)) << n;
      }
    }
  });
}

TEST(Ops, AddAndScaleRoundOnce) {
  for_each_target([] {
    for (const std::size_t n : kLengths) {
      const auto x = random_floats(n);
      auto sum = random_floats(n, 2.0F);
      const auto before = sum;
      add(x, sum);
      auto scaled = x;
      scale(scaled, 0.3F);
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(sum[i], before[i] + x[i]);
        ASSERT_EQ(scaled[i], x[i] * 0.3F);
      }
    }
  });
}

TEST(Ops, SiluMultiplyHoldsOverTheWholeRange) {
  for_each_target([] {
    const auto gate = steps(-200.0F, 0.37F, 1082);
    const auto up = random_floats(gate.size());
    auto out = gate;
    silu_multiply(out, up);
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const double g = gate[i];
      const double expected = g / (1.0 + std::exp(-g)) * up[i];
      // Relative, and where exp(-g) leaves the range of float the result may be 0.
      ASSERT_NEAR(out[i], expected, 2e-6 * std::abs(expected) + 1e-35) << g;
    }
  });
}

TEST(Ops, RopeRotatesPairsAndLeavesTheRestAlone) {
  constexpr std::size_t kHeads = 3;
  for_each_target([] {
    for (const std::size_t head_dim : {2, 6, 64, 80}) {
      for (const std::size_t rotated : {head_dim, head_dim / 4 * 2}) {
        std::vector<float> cos_sin;
        for (std::size_t i = 0; i < rotated / 2; ++i) {
          cos_sin.push_back(std::cos(0.3F * static_cast<float>(i + 1)));
          cos_sin.push_back(std::sin(0.3F * static_cast<float>(i + 1)));
        }
        const auto x = random_floats(kHeads * head_dim);
        auto out = x;
        apply_rope(out, kHeads, head_dim, cos_sin);
        for (std::size_t i = 0; i < x.size(); ++i) {
          const std::size_t dim = i % head_dim;
          if (dim >= rotated) {
            ASSERT_EQ(out[i], x[i]);
            continue;
          }
          const double c = cos_sin[dim / 2 * 2];
          const double s = cos_sin[dim / 2 * 2 + 1];
          const double expected = dim % 2 == 0 ? x[i] * c - x[i + 1] * s : x[i] * c + x[i - 1] * s;
          const double other = dim % 2 == 0 ? x[i + 1] : x[i - 1];
          ASSERT_NEAR(out[i], expected, 2 * kEpsilon * (std::abs(x[i]) + std::abs(other))) << head_dim;
        }
      }
    }
  });
}

TEST(Ops, ExpShiftedIsAccurateToAMillionth) {
  for_each_target([] {
    const auto x = steps(-87.0F, 0.00173F, 62000);
    auto y = x;
    exp_shifted(y, 1.5F);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double expected = std::exp(static_cast<double>(x[i] - 1.5F));
      // Below -87.3 results are subnormal, where only the absolute error is small.
      ASSERT_NEAR(y[i], expected, 1e-6 * expected + std::numeric_limits<float>::min()) << x[i];
    }
  });
}

TEST(Ops, ExpShiftedReturnsBothSums) {
  for_each_target([] {
    for (const std::size_t n : kLengths) {
      auto x = random_floats(n);
      double sum = 0;
      double squares = 0;
      for (const float v : x) {
        sum += std::exp(static_cast<double>(v) - 0.5);
        squares += std::exp(2.0 * (static_cast<double>(v) - 0.5));
      }
      float sum_squares = 0;
      // Positive terms, each within 1e-6 (its square 2e-6), and one rounding per sum.
      const double bound = 1e-6 + kEpsilon * static_cast<double>(n);
      ASSERT_NEAR(exp_shifted(x, 0.5F, &sum_squares), sum, bound * sum);
      ASSERT_NEAR(sum_squares, squares, 2 * bound * squares);
    }
  });
}

TEST(Ops, ExpShiftedKnowsZeroInfinityAndNan) {
  for_each_target([] {
    std::vector<float> x(40, 0.0F);
    x[0] = x[39] = -kInfinity;
    x[1] = x[38] = -1000.0F;
    x[2] = x[37] = kNan;
    x[3] = x[36] = 1000.0F;
    exp_shifted(x, 0.0F);
    for (const std::size_t i : {0, 1, 38, 39}) EXPECT_EQ(x[i], 0.0F);
    for (const std::size_t i : {2, 37}) EXPECT_TRUE(std::isnan(x[i]));
    for (const std::size_t i : {3, 36}) EXPECT_EQ(x[i], kInfinity);
    EXPECT_EQ(x[10], 1.0F);
  });
}

TEST(Ops, MaxIsFoundAtEveryPlace) {
  for_each_target([] {
    for (const std::size_t n : {1, 5, 16, 37}) {
      for (std::size_t place = 0; place < n; ++place) {
        std::vector<float> x(n, -5.0F);
        x[place] = -1.0F;
        ASSERT_EQ(max_of(x), -1.0F) << place << " of " << n;
      }
    }
  });
}

/// A binary16 number by the definition of the format.
double half_value(std::uint16_t half) {
  const int exponent = (half >> 10) & 0x1F;
  const int fraction = half & 0x3FF;
  const double sign = (half & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 31) return fraction != 0 ? kNan : sign * kInfinity;
  return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

/// The nearest binary16 bits of a float that is not NaN, ties to even.
std::uint16_t nearest_half(float value) {
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
  const double x = std::abs(static_cast<double>(value));
  if (x >= 65520.0) return static_cast<std::uint16_t>(sign | 0x7C00);
  const int exponent = x == 0.0 ? -14 : std::max(std::ilogb(x), -14);
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(x, 10 - exponent)));
  return static_cast<std::uint16_t>(sign | (((exponent + 14) << 10) + units));
}

std::vector<std::uint16_t> all_halves() {
  std::vector<std::uint16_t> halves(65536);
  std::iota(halves.begin(), halves.end(), std::uint16_t{0});
  return halves;
}

TEST(Ops, EveryHalfBecomesItsFloat) {
  for_each_target([] {
    const auto halves = all_halves();
    std::vector<float> floats(halves.size());
    f16_to_f32(halves, floats);
    for (const auto half : halves) {
      const double expected = half_value(half);
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(floats[half])) << half;
      } else {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(floats[half]),
                  std::bit_cast<std::uint32_t>(static_cast<float>(expected)))
            << half;
      }
    }
  });
}

TEST(Ops, FloatsRoundToTheNearestHalfTiesToEven) {
  std::vector<float> floats = {0.0F, -0.0F, 1e-30F, 1e-45F, 65519.996F, 65520.0F, 65536.0F, 1e38F, kInfinity};
  for (std::uint16_t half = 0; half < 0x7C00; ++half) {
    const auto value = static_cast<float>(half_value(half));
    const float middle = half == 0x7BFF ? 65520.0F : (value + static_cast<float>(half_value(half + 1))) / 2;
    for (const float v : {value, middle}) {
      for (const float near : {v, std::nextafter(v, kInfinity), std::nextafter(v, -kInfinity)}) {
        floats.push_back(near);
        floats.push_back(-near);
      }
    }
  }
  for_each_target([&] {
    std::vector<std::uint16_t> halves(floats.size());
    f32_to_f16(floats, halves);
    for (std::size_t i = 0; i < floats.size(); ++i)
      ASSERT_EQ(halves[i], nearest_half(floats[i])) << floats[i];
  });
}

TEST(Ops, NanStaysNanAsAHalf) {
  for_each_target([] {
    const std::vector<float> floats = {kNan, -kNan, std::bit_cast<float>(0x7F800001U)};
    for (const float value : floats) {
      std::uint16_t half = 0;
      f32_to_f16({&value, 1}, {&half, 1});
      EXPECT_TRUE(std::isnan(half_value(half)));
    }
    const std::vector<float> many(16, kNan);
    std::vector<std::uint16_t> halves(16);
    f32_to_f16(many, halves);
    for (const auto half : halves) EXPECT_TRUE(std::isnan(half_value(half)));
  });
}

}  // namespace
}  // namespace miser::nn
