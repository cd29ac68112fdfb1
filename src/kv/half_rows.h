#pragma once
#include <cstddef>

namespace miser::kv {

/// Binary16 rows as they lie in a cache: [n, head_dim] without gaps, at any address.
struct HalfRows {
  const std::byte* data = nullptr;
  std::size_t n = 0;
  std::size_t head_dim = 0;
};

/// scores[r * ld + t] = q[r] . row t, for q [n_q, head_dim]. A row is read and converted once for up to 4
/// queries.
void score_half_rows(const float* q, std::size_t n_q, const HalfRows& rows, float* scores, std::size_t ld);

/// sums[r] += sum_t weights[r * ld + t] * row t, for sums [n_q, head_dim].
void add_half_rows(const float* weights, std::size_t ld, std::size_t n_q, const HalfRows& rows, float* sums);

}  // namespace miser::kv
