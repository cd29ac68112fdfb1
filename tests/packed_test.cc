// Scores and value sums straight from packed segments against sums in double over the vectors that the codec
// reads back.
#include "kv/packed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "kv/online_softmax.h"
#include "nn/ops.h"
#include "nn_targets.h"
#include "random_vectors.h"

namespace miser::kv {
namespace {

constexpr float kUnused = 1e30F;  // stands where nothing may be read

using test::gaussian;
using test::Generator;
using test::round_to_half;

/// A segment, and its vectors one by one.
struct Packed {
  Packed(SideKind side_kind, std::size_t head_dim, const std::vector<Width>& given, std::vector<float> rows,
         Generator& random)
      : kind(side_kind),
        rotation(head_dim),
        centre(gaussian(random, head_dim, 1)),
        widths(given),
        segment(&memory) {
    round_to_half(rows);
    segment.append(widths, rows, side());
    for (std::size_t t = 0; t < widths.size(); ++t) read(std::span(rows).subspan(t * head_dim, head_dim), t);
  }

  Side side() const { return {&rotation, centre, ScaleRule::kUnbiased, kind}; }

  /// The vector as the codec alone stores it.
  void read(std::span<const float> row, std::size_t t) {
    std::vector<float> y(row.begin(), row.end());
    correction.push_back(0);
    top.push_back(0);
    if (widths[t] != Width::k16) {
      for (std::size_t d = 0; d < y.size(); ++d) y[d] -= centre[d];
      rotation.apply(y);
      std::vector<std::byte> payload(payload_bytes(widths[t], y.size()));
      const std::uint16_t half = encode(widths[t], y, ScaleRule::kUnbiased, payload);
      float scale = 0;
      nn::f16_to_f32(std::span(&half, 1), std::span(&scale, 1));
      decode(widths[t], payload, scale, y);
      top.back() = scale * (widths[t] == Width::k1 ? 1.0F : widths[t] == Width::k2 ? 3.0F : 127.0F);
      correction.back() = score_correction(widths[t], ScaleRule::kUnbiased) * scale * scale;
    }
    vectors.insert(vectors.end(), y.begin(), y.end());
  }

  SideKind kind;
  Rotation rotation;
  std::vector<float> centre;
  std::vector<Width> widths;
  CountingResource memory{std::pmr::new_delete_resource()};
  Segment segment;
  std::vector<float> vectors;  ///< [n, head_dim]
  std::vector<float> correction;
  std::vector<float> top;  ///< largest level times the scale
};

void check_scores(const Packed& keys, std::size_t n_rows, Generator& random) {
  const std::size_t head_dim = keys.centre.size();
  const auto plain = gaussian(random, n_rows * head_dim, 0.4F);
  auto rotated = plain;
  keys.rotation.apply(rotated);
  const auto norm2 = gaussian(random, n_rows, 1);
  const auto centre_dot = gaussian(random, n_rows, 1);
  PackedQueries queries;
  queries.prepare({n_rows, plain.data(), rotated.data(), norm2.data(), centre_dot.data()}, head_dim);
  const std::size_t ld = padded_tokens(keys.widths.size()) + 16;
  std::vector<float> scores(n_rows * ld, kUnused);
  PackedScratch scratch;
  key_scores(keys.segment, keys.side(), queries, scores.data(), ld, scratch);
  for (std::size_t r = 0; r < n_rows; ++r) {
    const float* q = rotated.data() + r * head_dim;
    const double largest = std::abs(
        *std::max_element(q, q + head_dim, [](float a, float b) { return std::abs(a) < std::abs(b); }));
    for (std::size_t t = 0; t < keys.widths.size(); ++t) {
      const bool exact = keys.widths[t] == Width::k16;
      double expected = exact ? 0 : centre_dot[r] - static_cast<double>(norm2[r]) * keys.correction[t];
      double size = std::abs(expected) + std::abs(centre_dot[r]);
      double length1 = 0;
      for (std::size_t d = 0; d < head_dim; ++d) {
        const double y = keys.vectors[t * head_dim + d];
        expected += y * (exact ? plain[r * head_dim + d] : q[d]);
        size += std::abs(y * (exact ? plain[r * head_dim + d] : q[d]));
        length1 += std::abs(y);
      }
      // A query level is off by half a step at most, sums of floats by head_dim roundings.
      const double bound = (exact ? 0 : length1 * largest / kMaxQueryLevel * 0.5001) +
                           size * static_cast<double>(head_dim) * 0x1p-24;
      ASSERT_NEAR(scores[r * ld + t], expected, bound + 1e-30) << "row " << r << ", token " << t;
    }
    ASSERT_EQ(scores[(r + 1) * ld - 1], kUnused) << "written behind the padded row";
  }
}

void check_values(const Packed& values, std::size_t n_rows, Generator& random) {
  const std::size_t head_dim = values.centre.size();
  const std::size_t n = values.widths.size();
  const std::size_t ld = padded_tokens(n) + 16;
  std::vector<float> weights(n_rows * ld, kUnused);
  std::exponential_distribution<float> logarithm(0.5F);
  for (std::size_t r = 0; r < n_rows; ++r) {
    for (std::size_t t = 0; t < n; ++t) weights[r * ld + t] = std::exp(-logarithm(random));
  }
  std::vector<float> plain(n_rows * head_dim, 1);
  std::vector<float> rotated(n_rows * head_dim, 2);
  std::vector<float> centred(n_rows, 3);
  PackedScratch scratch;
  add_values(values.segment, values.side(), weights.data(), ld, n_rows,
             {plain.data(), rotated.data(), centred.data()}, scratch);
  for (std::size_t r = 0; r < n_rows; ++r) {
    double weight = 3;
    double largest = 0;
    for (std::size_t t = 0; t < n; ++t) {
      weight += values.widths[t] == Width::k16 ? 0 : weights[r * ld + t];
      largest = std::max<double>(largest, weights[r * ld + t] * values.top[t]);
    }
    EXPECT_NEAR(centred[r], weight, weight * 1e-5);
    for (std::size_t d = 0; d < head_dim; ++d) {
      double sums[2] = {2, 1};  // rotated, plain
      double size = 2;
      for (std::size_t t = 0; t < n; ++t) {
        const double term = static_cast<double>(weights[r * ld + t]) * values.vectors[t * head_dim + d];
        sums[values.widths[t] == Width::k16 ? 1 : 0] += term;
        size += std::abs(term);
      }
      // Weights times scales are rounded to 1 / 32767 of the largest, and levels fill half of int8 at least.
      const double bound = static_cast<double>(n) * 0.5 / 32767 * 2 * largest + size * 1e-6;
      ASSERT_NEAR(rotated[r * head_dim + d], sums[0], bound) << "row " << r << ", channel " << d;
      ASSERT_NEAR(plain[r * head_dim + d], sums[1], size * 1e-5) << "row " << r << ", channel " << d;
    }
  }
}

void check(std::size_t head_dim, const std::vector<Width>& widths, const std::vector<float>& rows,
           std::size_t n_rows, Generator& random) {
  check_scores(Packed(SideKind::kKeys, head_dim, widths, rows, random), n_rows, random);
  check_values(Packed(SideKind::kValues, head_dim, widths, rows, random), n_rows, random);
}

std::vector<Width> random_widths(Generator& random, std::size_t n) {
  std::vector<Width> widths(n);
  for (Width& width : widths) width = kAllWidths[random() % kWidthCount];
  return widths;
}

TEST(Packed, ScoresAndSumsOfMixedSegmentsAreThoseOfTheVectorsReadBack) {
  nn::for_each_target([] {
    Generator random(1);
    for (const std::size_t head_dim : {32, 48, 64, 80, 96, 128, 256}) {
      for (const std::size_t n : {1, 31, 100, 300, 512}) {
        SCOPED_TRACE(testing::Message() << "head_dim " << head_dim << ", " << n << " tokens");
        check(head_dim, random_widths(random, n), gaussian(random, n * head_dim, 2), 1 + random() % 4,
              random);
      }
    }
  });
}

TEST(Packed, GroupsOfEverySizeAndWidthAreReadWhole) {
  nn::for_each_target([] {
    Generator random(2);
    for (const Width width : kAllWidths) {
      for (std::size_t n = 1; n <= 50; ++n) {
        SCOPED_TRACE(testing::Message() << bits(width) << " bits, " << n << " tokens");
        check(64, std::vector<Width>(n, width), gaussian(random, n * 64, 2), 3, random);
      }
    }
  });
}

/// Rows that round, clip, vanish or reach the ends of binary16; [n, head_dim], ten kinds in turn.
std::vector<float> extreme_rows(Generator& random, std::size_t n, std::size_t head_dim) {
  auto rows = gaussian(random, n * head_dim, 1);
  for (std::size_t t = 0; t < n; ++t) {
    const auto row = std::span(rows).subspan(t * head_dim, head_dim);
    const auto all = [&](float value) { std::fill(row.begin(), row.end(), value); };
    switch (t % 10) {
      case 0:
        all(0);
        break;
      case 1:
        all(65504);
        break;
      case 2:
        all(-65504);
        break;
      case 3:
        all(-3.5F);
        break;
      case 4:
        row[random() % head_dim] = 1000;  // one outlier
        break;
      case 5:
        all(0);
        row[random() % head_dim] = 65504;
        break;
      case 6:
        for (float& x : row) x *= 0x1p-22F;  // subnormal
        break;
      case 7:
        all(0x1p-24F);
        break;
      case 8:
        for (float& x : row) x = std::copysign(65504.0F, x);
        break;
      default:
        for (std::size_t d = 0; d < head_dim; d += 7) row[d] *= 30;  // channels of keys differ as much
    }
  }
  return rows;
}

TEST(Packed, ExtremeVectorsAreReadLikeAnyOther) {
  nn::for_each_target([] {
    Generator random(5);
    for (const Width width : kAllWidths) {
      SCOPED_TRACE(testing::Message() << bits(width) << " bits");
      check(64, std::vector<Width>(100, width), extreme_rows(random, 100, 64), 3, random);
    }
    check(128, random_widths(random, 200), extreme_rows(random, 200, 128), 2, random);
  });
}

TEST(Packed, WeightsOfZeroAndTinyWeightsAddNothingThatIsNotANumber) {
  nn::for_each_target([] {
    Generator random(6);
    const Packed values(SideKind::kValues, 64, random_widths(random, 70), gaussian(random, 70 * 64, 2),
                        random);
    for (const float weight : {0.0F, 1e-42F, 1e-36F}) {
      const std::vector<float> weights(2 * padded_tokens(70), weight);
      std::vector<float> plain(2 * 64);
      std::vector<float> rotated(2 * 64);
      std::vector<float> centred(2);
      PackedScratch scratch;
      add_values(values.segment, values.side(), weights.data(), padded_tokens(70), 2,
                 {plain.data(), rotated.data(), centred.data()}, scratch);
      for (const float x : rotated) EXPECT_LE(std::abs(x), 70 * 10 * weight);
      for (const float x : plain) EXPECT_LE(std::abs(x), 70 * 10 * weight);
    }
  });
}

TEST(Packed, EveryNumberOfQueryRowsIsServed) {
  nn::for_each_target([] {
    Generator random(3);
    const auto widths = random_widths(random, 150);
    const auto rows = gaussian(random, widths.size() * 64, 2);
    for (std::size_t n_rows = 1; n_rows <= kMaxPackedRows; ++n_rows) check(64, widths, rows, n_rows, random);
  });
}

TEST(Packed, EmptySegmentsAddNothing) {
  Generator random(4);
  check(64, {}, {}, 3, random);
}

}  // namespace
}  // namespace miser::kv
