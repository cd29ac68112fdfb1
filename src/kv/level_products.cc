#include "kv/level_products.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/divide_up.h"
#include "nn/gemm.h"
#include "nn/row_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kv/level_products.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "hwy/highway.h"
#include "nn/pair_products-inl.h"

MISER_BEFORE_NAMESPACE();
namespace miser::kv::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using nn::HWY_NAMESPACE::add_pairs;
using nn::HWY_NAMESPACE::BlockInputs;
using nn::HWY_NAMESPACE::Floats;
using nn::HWY_NAMESPACE::Ints;
using nn::HWY_NAMESPACE::Sums;

constexpr std::size_t kVectors = 4;  // of channels
// Rows of a pass: their sums, over kVectors of values, fit 32 registers, or 16.
#if HWY_TARGET == HWY_AVX3_DL
constexpr std::size_t kScoreRows = 12;
constexpr std::size_t kValueRows = 6;
#else
constexpr std::size_t kScoreRows = 4;
constexpr std::size_t kValueRows = 2;
#endif
constexpr std::size_t kTokens = LevelTile::kTokens;
constexpr std::size_t kUnrolled = 8;  // pairs of channels

/// sums = 16 tokens, from `lane` on, times n rows.
template <std::size_t n>
HWY_INLINE void multiply_keys(const std::int32_t* keys, std::size_t n_pairs, const std::int32_t* queries,
                              Sums (&sums)[n]) {
  HWY_UNROLL(16)
  for (std::size_t r = 0; r < n; ++r) sums[r] = hn::Zero(Ints());
  for (std::size_t c = 0; c < n_pairs; c += kUnrolled) {
    const BlockInputs<std::int32_t, n> q(queries, n_pairs * nn::kPanelRows, c / kUnrolled, kUnrolled);
    HWY_UNROLL(8)
    for (std::size_t i = 0; i < kUnrolled; ++i) {
      const Sums k = hn::LoadU(Ints(), keys + (c + i) * kTokens);
      HWY_UNROLL(16)
      for (std::size_t r = 0; r < n; ++r) sums[r] = add_pairs(sums[r], k, hn::Set(Ints(), q(r, i)));
    }
  }
}

/// Scores of n rows from `first` on against the 16 tokens of a tile.
template <std::size_t n>
HWY_INLINE void score_rows(const LevelTile& keys, std::size_t tile, std::size_t n_pairs,
                           const QueryLevels& rows, std::size_t first, float* scores, std::size_t ld) {
  const Floats d;
  for (std::size_t lane = 0; lane < kTokens; lane += hn::Lanes(d)) {
    Sums sums[n];
    multiply_keys<n>(&keys.pairs[tile * n_pairs * kTokens + lane], n_pairs, rows.pairs + first * n_pairs,
                     sums);
    const std::size_t token = tile * kTokens + lane;
    const auto unit = hn::LoadU(d, &keys.unit[token]);
    const auto correction = hn::LoadU(d, &keys.correction[token]);
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < n; ++r) {
      const std::size_t row = first + r;
      if (row >= rows.q.n) break;
      const auto shift =
          hn::NegMulAdd(hn::Set(d, rows.q.norm2[row]), correction, hn::Set(d, rows.q.centre_dot[row]));
      const auto scale = hn::Mul(unit, hn::Set(d, rows.unit[row]));
      hn::StoreU(hn::MulAdd(hn::ConvertTo(d, sums[r]), scale, shift), d, scores + row * ld + token);
    }
  }
}

void score_block(const LevelTile& keys, std::size_t head_dim, const QueryLevels& rows, float* scores,
                 std::size_t ld) {
  for (std::size_t tile = 0; tile < divide_up(keys.n_tokens, kTokens); ++tile) {
    std::size_t row = 0;
    for (; row + kScoreRows <= rows.q.n; row += kScoreRows)
      score_rows<kScoreRows>(keys, tile, head_dim / 2, rows, row, scores, ld);
    for (; row < rows.q.n; row += nn::kPanelRows)
      score_rows<nn::kPanelRows>(keys, tile, head_dim / 2, rows, row, scores, ld);
  }
}

/// pairs [n / 2] of weights * units, rounded; returns the unit of their levels. REQUIRES: n is a multiple of
/// 16, nothing is negative.
float round_weights(const float* weights, const float* units, std::size_t n, std::int32_t* pairs) {
  const Floats d;
  auto largest = hn::Zero(d);
  const auto weight = [&](std::size_t i)
                          HWY_ATTR { return hn::Mul(hn::LoadU(d, weights + i), hn::LoadU(d, units + i)); };
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) largest = hn::Max(largest, weight(i));
  const nn::Rounding rounding = nn::rounding_to(hn::GetLane(hn::MaxOfLanes(d, largest)));
  const auto inverse = hn::Set(d, rounding.inverse);
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto levels = hn::NearestInt(hn::Mul(weight(i), inverse));
#if HWY_TARGET == HWY_SCALAR
    auto* const pair = pairs + i / 2;
    *pair = i % 2 == 0 ? levels.raw : level_pair(*pair, levels.raw);
#else
    const hn::Rebind<std::int16_t, Floats> words;
    const hn::Repartition<std::int32_t, decltype(words)> both;
    hn::StoreU(hn::BitCast(both, hn::DemoteTo(words, levels)), both, pairs + i / 2);
#endif
  }
  return rounding.unit;
}

/// sums [n, head_dim] += unit [n] * (weights [n, ld] times values).
template <std::size_t n>
HWY_INLINE void add_value_rows(const LevelTile& values, std::size_t head_dim, const std::int32_t* weights,
                               std::size_t ld, const float* unit, float* sums) {
  const Ints di;
  const Floats d;
  const std::size_t n_pairs = divide_up(values.n_tokens, std::size_t{2});
  for (std::size_t channel = 0; channel < head_dim; channel += kVectors * hn::Lanes(di)) {
    Sums acc[n][kVectors];
    HWY_UNROLL(8)
    for (std::size_t r = 0; r < n; ++r) {
      HWY_UNROLL(4)
      for (std::size_t i = 0; i < kVectors; ++i) acc[r][i] = hn::Zero(di);
    }
    const std::int32_t* from = &values.pairs[channel];
    for (std::size_t t = 0; t < n_pairs; ++t, from += head_dim) {
      Sums v[kVectors];
      HWY_UNROLL(4)
      for (std::size_t i = 0; i < kVectors; ++i) v[i] = hn::LoadU(di, from + i * hn::Lanes(di));
      HWY_UNROLL(8)
      for (std::size_t r = 0; r < n; ++r) {
        const Sums w = hn::Set(di, weights[r * ld + t]);
        HWY_UNROLL(4)
        for (std::size_t i = 0; i < kVectors; ++i) acc[r][i] = add_pairs(acc[r][i], v[i], w);
      }
    }
    HWY_UNROLL(8)
    for (std::size_t r = 0; r < n; ++r) {
      HWY_UNROLL(4)
      for (std::size_t i = 0; i < kVectors; ++i) {
        float* const to = sums + r * head_dim + channel + i * hn::Lanes(d);
        hn::StoreU(hn::MulAdd(hn::Set(d, unit[r]), hn::ConvertTo(d, acc[r][i]), hn::LoadU(d, to)), d, to);
      }
    }
  }
}

void add_value_block(const LevelTile& values, std::size_t head_dim, const std::int32_t* weights,
                     std::size_t ld, const float* unit, std::size_t n, float* sums) {
  std::size_t row = 0;
  for (; row + kValueRows <= n; row += kValueRows)
    add_value_rows<kValueRows>(values, head_dim, weights + row * ld, ld, unit + row, sums + row * head_dim);
  for (; row < n; ++row)
    add_value_rows<1>(values, head_dim, weights + row * ld, ld, unit + row, sums + row * head_dim);
}

/// levels [n] = x * inverse, rounded to nearest even. REQUIRES: n is a multiple of 16.
void round_row(const float* x, float inverse, std::size_t n, std::int32_t* levels) {
  const Floats d;
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) {
    hn::StoreU(hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, inverse))), Ints(), levels + i);
  }
}

/// The same to the largest magnitude of x; returns the unit of the levels.
float round_query(const float* x, std::size_t n, std::int32_t* levels) {
  const nn::Rounding rounding = nn::rounding_to(nn::HWY_NAMESPACE::largest_magnitude(x, n));
  round_row(x, rounding.inverse, n, levels);
  return rounding.unit;
}

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::kv {

HWY_EXPORT(score_block);
HWY_EXPORT(round_weights);
HWY_EXPORT(add_value_block);
HWY_EXPORT(round_row);
HWY_EXPORT(round_query);

namespace {

constexpr std::size_t kTokens = LevelTile::kTokens;
constexpr std::size_t kMaxHeadDim = 512;
static_assert(kMaxHeadDim * 127 * 32767 <= INT32_MAX && Segment::kMaxTokens * 127 * 32767 <= INT32_MAX);
constexpr std::size_t kRowBlock = 48;  // scores against 512 tokens take 96 KiB of L2, beside keys and values

std::size_t padded(std::size_t n_tokens) {
  return divide_up(n_tokens, kTokens) * kTokens;
}

/// Levels of one vector, 0 where it has none.
void token_levels(const Tile& tile, std::size_t token, std::size_t head_dim, std::int32_t* levels) {
  const float unit = tile.unit[token];
  if (unit == 0) {
    std::fill_n(levels, head_dim, 0);
  } else {
    HWY_DYNAMIC_DISPATCH(round_row)(tile.rows.data() + token * head_dim, 1 / unit, head_dim, levels);
  }
}

/// All but the pairs.
void take_tokens(const Tile& tile, std::size_t head_dim, LevelTile& out) {
  out.n_tokens = tile.n_tokens;
  out.unit.assign(padded(tile.n_tokens), 0.0F);
  out.correction.assign(padded(tile.n_tokens), 0.0F);
  std::ranges::copy(tile.unit, out.unit.begin());
  std::ranges::copy(tile.correction, out.correction.begin());
  out.exact.clear();
  out.exact_rows.clear();
  for (std::size_t t = 0; t < tile.n_tokens; ++t) {
    if (tile.unit[t] != 0) continue;
    out.exact.push_back(static_cast<std::uint16_t>(t));
    const auto row = tile.rows.begin() + t * head_dim;
    out.exact_rows.insert(out.exact_rows.end(), row, row + head_dim);
  }
}

void take_keys(const Tile& tile, std::size_t head_dim, LevelTile& out) {
  take_tokens(tile, head_dim, out);
  out.pairs.assign(padded(tile.n_tokens) * head_dim / 2, 0);
  std::array<std::int32_t, kMaxHeadDim> levels;
  for (std::size_t t = 0; t < tile.n_tokens; ++t) {
    token_levels(tile, t, head_dim, levels.data());
    std::int32_t* const to = &out.pairs[t / kTokens * kTokens * head_dim / 2 + t % kTokens];
    for (std::size_t c = 0; c < head_dim / 2; ++c)
      to[c * kTokens] = level_pair(levels[2 * c], levels[2 * c + 1]);
  }
}

void take_values(const Tile& tile, std::size_t head_dim, LevelTile& out) {
  take_tokens(tile, head_dim, out);
  out.pairs.assign(divide_up(tile.n_tokens, std::size_t{2}) * head_dim, 0);
  std::array<std::int32_t, kMaxHeadDim> levels;
  for (std::size_t t = 0; t < tile.n_tokens; ++t) {
    token_levels(tile, t, head_dim, levels.data());
    std::int32_t* const to = &out.pairs[t / 2 * head_dim];
    for (std::size_t c = 0; c < head_dim; ++c)
      to[c] = t % 2 == 0 ? level_pair(levels[c], 0) : level_pair(to[c], levels[c]);
  }
}

}  // namespace

bool LevelProducts::suit(std::size_t head_dim) {
  return head_dim % 64 == 0 && head_dim <= kMaxHeadDim && nn::takes_many_rows();
}

void LevelProducts::set_queries(const QueryRows& q, std::size_t head_dim) {
  q_ = q;
  head_dim_ = head_dim;
  const std::size_t n_panels = divide_up(q.n, nn::kPanelRows);
  query_pairs_.assign(n_panels * nn::kPanelRows * head_dim / 2, 0);
  query_unit_.resize(q.n);
  std::array<std::int32_t, kMaxHeadDim> levels;
  for (std::size_t i = 0; i < q.n; ++i) {
    const float* const row = q.rotated + i * head_dim;
    query_unit_[i] = HWY_DYNAMIC_DISPATCH(round_query)(row, head_dim, levels.data());
    std::int32_t* const to =
        &query_pairs_[i / nn::kPanelRows * nn::kPanelRows * head_dim / 2 + i % nn::kPanelRows];
    for (std::size_t c = 0; c < head_dim / 2; ++c)
      to[c * nn::kPanelRows] = level_pair(levels[2 * c], levels[2 * c + 1]);
  }
}

void LevelProducts::set_segment(const Tile& keys, const Tile& values) {
  take_keys(keys, head_dim_, keys_);
  take_values(values, head_dim_, values_);
}

void LevelProducts::attend(OnlineSoftmax& state, std::size_t first) {
  const std::size_t ld = padded(keys_.n_tokens);
  scores_.resize(kRowBlock * ld);
  for (std::size_t row = 0; row < q_.n; row += kRowBlock) {
    const std::size_t n = std::min(kRowBlock, q_.n - row);
    score(row, n);
    for (std::size_t i = 0; i < n; ++i) {
      const float weight = state.fold(first + row + i, std::span(scores_).subspan(i * ld, keys_.n_tokens));
      state.centred_sums(first + row)[i] += weight;
    }
    add_values(state, first + row, n);
  }
}

/// Scores of rows [first, first + n).
void LevelProducts::score(std::size_t first, std::size_t n) {
  const std::size_t ld = padded(keys_.n_tokens);
  const QueryLevels rows{q_.subspan(first, n, head_dim_), query_pairs_.data() + first * head_dim_ / 2,
                         query_unit_.data() + first};
  HWY_DYNAMIC_DISPATCH(score_block)(keys_, head_dim_, rows, scores_.data(), ld);
  const std::size_t n_exact = keys_.exact.size();
  exact_columns_.resize(n * n_exact);
  nn::gemm_nt(n, n_exact, head_dim_, 1.0F, rows.q.rotated, head_dim_, keys_.exact_rows.data(), head_dim_,
              0.0F, exact_columns_.data(), n_exact);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t e = 0; e < n_exact; ++e)
      scores_[i * ld + keys_.exact[e]] = exact_columns_[i * n_exact + e] + rows.q.centre_dot[i];
  }
}

/// Values times what scores_ has become.
void LevelProducts::add_values(OnlineSoftmax& state, std::size_t state_row, std::size_t n) {
  const std::size_t ld = padded(values_.n_tokens);
  float* const sums = state.rotated_sums(state_row);
  levels_.resize(n * ld / 2);
  level_unit_.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    level_unit_[i] = HWY_DYNAMIC_DISPATCH(round_weights)(scores_.data() + i * ld, values_.unit.data(), ld,
                                                         levels_.data() + i * ld / 2);
  }
  HWY_DYNAMIC_DISPATCH(add_value_block)
  (values_, head_dim_, levels_.data(), ld / 2, level_unit_.data(), n, sums);
  const std::size_t n_exact = values_.exact.size();
  exact_columns_.resize(n * n_exact);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t e = 0; e < n_exact; ++e)
      exact_columns_[i * n_exact + e] = scores_[i * ld + values_.exact[e]];
  }
  nn::gemm_nn(n, head_dim_, n_exact, 1.0F, exact_columns_.data(), n_exact, values_.exact_rows.data(),
              head_dim_, 1.0F, sums, head_dim_);
}

}  // namespace miser::kv
#endif  // HWY_ONCE
