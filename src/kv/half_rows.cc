#include "kv/half_rows.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kv/half_rows.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "nn/half-inl.h"

HWY_BEFORE_NAMESPACE();
namespace miser::kv::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Vector = hn::Vec<Floats>;

constexpr std::size_t kMaxLanes = 16;
constexpr std::size_t kTokens = 4;  // of a step over keys: 4 x 3 sums, 3 queries and a row in 16 registers
constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kPrefetchBytes = 2048;  // some hundred ns ahead
constexpr std::size_t kVectors = 4;           // of a step over values: 3 x 4 sums, 3 weights and a row

HWY_INLINE Vector load_row(const std::byte* row, std::size_t d) {
  return nn::HWY_NAMESPACE::load_half(
      Floats(), reinterpret_cast<const std::uint16_t*>(row + d * sizeof(std::uint16_t)));
}

/// The `n` last channels, fewer than a vector, and zeros.
HWY_INLINE Vector load_rest(const std::byte* row, std::size_t d, std::size_t n) {
  std::uint16_t rest[kMaxLanes] = {};
  std::memcpy(rest, row + d * sizeof(std::uint16_t), n * sizeof(std::uint16_t));
  return nn::HWY_NAMESPACE::load_half(Floats(), rest);
}

/// The same of a row of floats.
HWY_INLINE Vector load_rest(const float* row, std::size_t d, std::size_t n) {
  float rest[kMaxLanes] = {};
  std::memcpy(rest, row + d, n * sizeof(float));
  return hn::LoadU(Floats(), rest);
}

#if HWY_TARGET == HWY_SCALAR

HWY_INLINE void store_sums(const Vector (&v)[kTokens], float* out) {
  for (std::size_t i = 0; i < 4; ++i) out[i] = hn::GetLane(v[i]);
}

#else

/// Adds up the 128-bit blocks of v.
template <class D>
HWY_INLINE hn::Vec<hn::CappedTag<float, 4> > sum_blocks(D /*d*/, hn::Vec<D> v) {
  if constexpr (MaxLanes(D()) <= 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return sum_blocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

/// out = the sums of the lanes of 4 vectors: they are halved together until each block holds one lane of
/// each.
HWY_INLINE void store_sums(const Vector (&v)[kTokens], float* out) {
  const Floats d;
  const hn::Repartition<double, Floats> d2;
  const auto add_pairs = [&](Vector a, Vector b) HWY_ATTR {  // a0 + a2, b0 + b2, a1 + a3, b1 + b3
    return hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  };
  const auto ab = hn::BitCast(d2, add_pairs(v[0], v[1]));
  const auto cd = hn::BitCast(d2, add_pairs(v[2], v[3]));
  const auto all = hn::Add(hn::BitCast(d, hn::InterleaveLower(d2, ab, cd)),
                           hn::BitCast(d, hn::InterleaveUpper(d2, ab, cd)));
  hn::StoreU(sum_blocks(d, all), hn::CappedTag<float, 4>(), out);
}

#endif

/// Scores of n_t <= 4 tokens from `token` on.
template <std::size_t n_q, std::size_t n_t>
HWY_INLINE void score_tokens(const float* q, const HalfRows& rows, std::size_t token, float* scores,
                             std::size_t ld) {
  const Floats tag;
  const std::size_t head_dim = rows.head_dim;
  const std::size_t row_bytes = head_dim * sizeof(std::uint16_t);
  const std::byte* first = rows.data + token * row_bytes;
  Vector sums[n_q][kTokens];
  HWY_UNROLL(4)
  for (std::size_t r = 0; r < n_q; ++r) {
    HWY_UNROLL(4)
    for (std::size_t t = 0; t < kTokens; ++t) sums[r][t] = hn::Zero(tag);
  }
  const auto add = [&](const Vector* x, std::size_t t, Vector k) HWY_ATTR {
    HWY_UNROLL(4)
    for (std::size_t r = 0; r < n_q; ++r) sums[r][t] = hn::MulAdd(x[r], k, sums[r][t]);
  };
  Vector x[n_q];
  std::size_t d = 0;
  for (; d + hn::Lanes(tag) <= head_dim; d += hn::Lanes(tag)) {
    HWY_UNROLL(4)
    for (std::size_t r = 0; r < n_q; ++r) x[r] = hn::LoadU(tag, q + r * head_dim + d);
    HWY_UNROLL(4)
    for (std::size_t t = 0; t < n_t; ++t) add(x, t, load_row(first + t * row_bytes, d));
  }
  if (d < head_dim) {
    HWY_UNROLL(4)
    for (std::size_t r = 0; r < n_q; ++r) x[r] = load_rest(q + r * head_dim, d, head_dim - d);
    HWY_UNROLL(4)
    for (std::size_t t = 0; t < n_t; ++t) add(x, t, load_rest(first + t * row_bytes, d, head_dim - d));
  }
  HWY_UNROLL(4)
  for (std::size_t r = 0; r < n_q; ++r) {
    float of_tokens[kTokens];
    store_sums(sums[r], of_tokens);
    std::copy_n(of_tokens, n_t, scores + r * ld + token);
  }
}

/// Both loops ask for the rows that follow: the hardware stops at the ends of pages.
HWY_INLINE void prefetch_rows(const HalfRows& rows, std::size_t token, std::size_t n) {
  const std::size_t row_bytes = rows.head_dim * sizeof(std::uint16_t);
  const std::byte* from = rows.data + token * row_bytes + kPrefetchBytes;
  for (std::size_t at = 0; at < n * row_bytes; at += kCacheLine) hwy::Prefetch(from + at);
}

template <std::size_t n_q>
HWY_NOINLINE void score_queries(const float* q, const HalfRows& rows, float* scores, std::size_t ld) {
  std::size_t t = 0;
  for (; t + kTokens <= rows.n; t += kTokens) {
    prefetch_rows(rows, t, kTokens);
    score_tokens<n_q, kTokens>(q, rows, t, scores, ld);
  }
  for (; t < rows.n; ++t) score_tokens<n_q, 1>(q, rows, t, scores, ld);
}

/// n_v vectors of each sum from channel d on, with tokens read by load(row, i).
template <std::size_t n_q, std::size_t n_v, class Load>
HWY_INLINE void add_tokens(const float* weights, std::size_t ld, const HalfRows& rows,
                           Vector (&sums)[n_q][n_v], Load&& load) {
  const std::size_t row_bytes = rows.head_dim * sizeof(std::uint16_t);
  for (std::size_t t = 0; t < rows.n; ++t) {
    const std::byte* row = rows.data + t * row_bytes;
    prefetch_rows(rows, t, 1);
    Vector w[n_q];
    for (std::size_t r = 0; r < n_q; ++r) w[r] = hn::Set(Floats(), weights[r * ld + t]);
    HWY_UNROLL(4)
    for (std::size_t i = 0; i < n_v; ++i) {
      const Vector v = load(row, i);
      for (std::size_t r = 0; r < n_q; ++r) sums[r][i] = hn::MulAdd(w[r], v, sums[r][i]);
    }
  }
}

/// n_v whole vectors of each sum from channel d on.
template <std::size_t n_q, std::size_t n_v>
HWY_INLINE void add_channels(const float* weights, std::size_t ld, const HalfRows& rows, std::size_t d,
                             float* out) {
  const Floats tag;
  const std::size_t lanes = hn::Lanes(tag);
  Vector sums[n_q][n_v];
  for (std::size_t r = 0; r < n_q; ++r) {
    for (std::size_t i = 0; i < n_v; ++i)
      sums[r][i] = hn::LoadU(tag, out + r * rows.head_dim + d + i * lanes);
  }
  add_tokens(weights, ld, rows, sums,
             [&](const std::byte* row, std::size_t i) HWY_ATTR { return load_row(row, d + i * lanes); });
  for (std::size_t r = 0; r < n_q; ++r) {
    for (std::size_t i = 0; i < n_v; ++i)
      hn::StoreU(sums[r][i], tag, out + r * rows.head_dim + d + i * lanes);
  }
}

/// The channels from d on, fewer than a vector.
template <std::size_t n_q>
HWY_INLINE void add_rest(const float* weights, std::size_t ld, const HalfRows& rows, std::size_t d,
                         float* out) {
  const std::size_t n = rows.head_dim - d;
  Vector sums[n_q][1];
  for (std::size_t r = 0; r < n_q; ++r) sums[r][0] = load_rest(out + r * rows.head_dim, d, n);
  add_tokens(weights, ld, rows, sums,
             [&](const std::byte* row, std::size_t) HWY_ATTR { return load_rest(row, d, n); });
  for (std::size_t r = 0; r < n_q; ++r) {
    float lanes[kMaxLanes];
    hn::StoreU(sums[r][0], Floats(), lanes);
    std::copy_n(lanes, n, out + r * rows.head_dim + d);
  }
}

template <std::size_t n_q>
HWY_NOINLINE void add_queries(const float* weights, std::size_t ld, const HalfRows& rows, float* sums) {
  const std::size_t lanes = hn::Lanes(Floats());
  std::size_t d = 0;
  for (; d + kVectors * lanes <= rows.head_dim; d += kVectors * lanes) {
    add_channels<n_q, kVectors>(weights, ld, rows, d, sums);
  }
  for (; d + lanes <= rows.head_dim; d += lanes) add_channels<n_q, 1>(weights, ld, rows, d, sums);
  if (d < rows.head_dim) add_rest<n_q>(weights, ld, rows, d, sums);
}

/// Calls f(first, constant of 1 to 4) for passes over the rows that serve up to 4 of n_q queries.
template <class F>
HWY_INLINE void for_each_pass(std::size_t n_q, F&& f) {
  for (std::size_t first = 0; first < n_q;) {
    const std::size_t rest = n_q - first;
    // 5 are 3 + 2 and 6 are 3 + 3: passes of like size.
    const std::size_t n = rest <= 4 ? rest : (rest == 5 || rest == 6 || rest == 9 ? 3 : 4);
    if (n == 1) f(first, std::integral_constant<std::size_t, 1>());
    if (n == 2) f(first, std::integral_constant<std::size_t, 2>());
    if (n == 3) f(first, std::integral_constant<std::size_t, 3>());
    if (n == 4) f(first, std::integral_constant<std::size_t, 4>());
    first += n;
  }
}

void score_half_rows(const float* q, std::size_t n_q, const HalfRows& rows, float* scores, std::size_t ld) {
  for_each_pass(n_q, [&](std::size_t first, auto n) HWY_ATTR {
    score_queries<n()>(q + first * rows.head_dim, rows, scores + first * ld, ld);
  });
}

void add_half_rows(const float* weights, std::size_t ld, std::size_t n_q, const HalfRows& rows, float* sums) {
  for_each_pass(n_q, [&](std::size_t first, auto n) HWY_ATTR {
    add_queries<n()>(weights + first * ld, ld, rows, sums + first * rows.head_dim);
  });
}

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::kv {

HWY_EXPORT(score_half_rows);
HWY_EXPORT(add_half_rows);

void score_half_rows(const float* q, std::size_t n_q, const HalfRows& rows, float* scores, std::size_t ld) {
  HWY_DYNAMIC_DISPATCH(score_half_rows)(q, n_q, rows, scores, ld);
}

void add_half_rows(const float* weights, std::size_t ld, std::size_t n_q, const HalfRows& rows, float* sums) {
  HWY_DYNAMIC_DISPATCH(add_half_rows)(weights, ld, n_q, rows, sums);
}

}  // namespace miser::kv
#endif  // HWY_ONCE
