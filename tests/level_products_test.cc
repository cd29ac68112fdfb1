// Attention of many rows through integer products against sums in double over the rows of the tiles.
#include "kv/level_products.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "nn_targets.h"
#include "random_vectors.h"

namespace miser::kv {
namespace {

using test::gaussian;
using test::Generator;

/// One (layer, KV head) with query rows.
struct Head {
  Head(std::size_t dim, std::size_t n_rows, Generator& random)
      : head_dim(dim),
        rotation(dim),
        key_centre(gaussian(random, dim, 1)),
        value_centre(gaussian(random, dim, 1)),
        q(gaussian(random, n_rows * dim, 3)) {
    queries.fill(q.data(), n_rows, 1, dim, rotation, key_centre, true);
  }

  Side keys() const { return {&rotation, key_centre, ScaleRule::kUnbiased, SideKind::kKeys}; }
  Side values() const { return {&rotation, value_centre, ScaleRule::kLeastSquares, SideKind::kValues}; }

  std::size_t head_dim;
  Rotation rotation;
  std::vector<float> key_centre;
  std::vector<float> value_centre;
  std::vector<float> q;
  QueryBuffer queries;
};

Tile draw_tile(const Side& side, std::size_t n_tokens, const std::vector<Width>& choices, Generator& random) {
  CountingResource memory{std::pmr::new_delete_resource()};
  Segment segment(&memory);
  auto rows = gaussian(random, n_tokens * side.rotation->head_dim(), 1);
  test::round_to_half(rows);
  std::vector<Width> widths(n_tokens);
  for (Width& width : widths) width = choices[random() % choices.size()];
  widths[0] = choices[0];
  segment.append(widths, rows, side);
  Tile tile;
  segment.unpack(side, tile);
  return tile;
}

struct Tiles {
  Tile keys;
  Tile values;
};

/// Attention of query row i to all tokens of all tiles.
std::vector<double> expected_row(const Head& head, const std::vector<Tiles>& segments, std::size_t i) {
  const QueryRows q = head.queries.rows();
  std::vector<double> sums(head.head_dim);
  double total = 0;
  for (const Tiles& tiles : segments) {
    for (std::size_t t = 0; t < tiles.keys.n_tokens; ++t) {
      // Vectors of 16 bits are multiplied as they are.
      const float* const row = q.rotated + i * head.head_dim;
      std::vector<float> x(row, row + head.head_dim);
      if (tiles.keys.unit[t] != 0) test::round_to_levels(x);
      double score = q.centre_dot[i] - static_cast<double>(q.norm2[i]) * tiles.keys.correction[t];
      for (std::size_t d = 0; d < head.head_dim; ++d)
        score += static_cast<double>(x[d]) * tiles.keys.rows[t * head.head_dim + d];
      const double weight = std::exp(score);
      total += weight;
      for (std::size_t d = 0; d < head.head_dim; ++d)
        sums[d] += weight * tiles.values.rows[t * head.head_dim + d];
    }
  }
  std::vector<float> out(head.head_dim);
  std::ranges::transform(sums, out.begin(), [&](double sum) { return static_cast<float>(sum / total); });
  head.rotation.invert(out);
  std::vector<double> result(head.head_dim);
  for (std::size_t d = 0; d < head.head_dim; ++d) result[d] = out[d] + double{head.value_centre[d]};
  return result;
}

std::vector<float> attend(const Head& head, const std::vector<Tiles>& segments) {
  const QueryRows q = head.queries.rows();
  constexpr std::size_t kFirst = 3;  // rows of the state before
  OnlineSoftmax state;
  state.reset(kFirst + q.n, head.head_dim, false);
  LevelProducts products;
  products.set_queries(q, head.head_dim);
  for (const Tiles& tiles : segments) {
    products.set_segment(tiles.keys, tiles.values);
    products.attend(state, kFirst);
  }
  std::vector<float> out(q.n * head.head_dim);
  state.finish(kFirst, q.n, head.rotation, head.value_centre, out);
  return out;
}

void check(std::size_t head_dim, std::size_t n_rows, const std::vector<std::size_t>& sizes,
           const std::vector<Width>& choices) {
  Generator random(head_dim + 1000 * n_rows + sizes.front());
  const Head head(head_dim, n_rows, random);
  std::vector<Tiles> segments;
  for (const std::size_t n : sizes) {
    segments.push_back(
        {draw_tile(head.keys(), n, choices, random), draw_tile(head.values(), n, choices, random)});
  }
  std::vector<double> expected;
  for (std::size_t i = 0; i < n_rows; ++i) {
    const auto row = expected_row(head, segments, i);
    expected.insert(expected.end(), row.begin(), row.end());
  }
  nn::for_each_target([&] {
    const auto found = attend(head, segments);
    // A level of the weights is off by half a step of 1/32767 of the largest, values reach 4 or so.
    for (std::size_t i = 0; i < found.size(); ++i)
      ASSERT_NEAR(found[i], expected[i], 1e-3) << "row " << i / head_dim << ", channel " << i % head_dim;
  });
}

const std::vector<Width> kAll(kAllWidths.begin(), kAllWidths.end());

TEST(LevelProducts, EqualSumsInDoubleForAnyNumberOfRows) {
  for (const std::size_t n_rows : {1, 4, 6, 11, 12, 13, 47, 48, 49, 110}) check(64, n_rows, {70}, kAll);
}

TEST(LevelProducts, EqualSumsInDoubleForAnyNumberOfTokens) {
  for (const std::size_t n : {1, 2, 15, 16, 17, 31, 32, 511, 512}) check(64, 13, {n}, kAll);
}

TEST(LevelProducts, EqualSumsInDoubleForEveryWidthAlone) {
  for (const Width width : kAllWidths) {
    if (width != Width::k16) check(64, 13, {40}, {width});
  }
}

TEST(LevelProducts, EqualSumsInDoubleForLongerHeads) {
  for (const std::size_t head_dim : {128, 256}) check(head_dim, 13, {33}, kAll);
}

TEST(LevelProducts, SegmentsAddUp) {
  check(64, 25, {512, 100, 3}, kAll);
}

TEST(LevelProducts, NanInAQueryStaysInItsRow) {
  Generator random(1);
  Head head(64, 14, random);
  head.q[5 * 64 + 7] = std::numeric_limits<float>::quiet_NaN();
  head.queries.fill(head.q.data(), 14, 1, 64, head.rotation, head.key_centre, true);
  const std::vector<Tiles> segments(
      1, {draw_tile(head.keys(), 40, kAll, random), draw_tile(head.values(), 40, kAll, random)});
  nn::for_each_target([&] {
    const auto found = attend(head, segments);
    for (std::size_t i = 0; i < found.size(); ++i) EXPECT_EQ(std::isnan(found[i]), i / 64 == 5) << i;
  });
}

}  // namespace
}  // namespace miser::kv
