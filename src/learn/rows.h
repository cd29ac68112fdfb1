#pragma once
#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "base/divide_up.h"
#include "model/model.h"
#include "nn/rope.h"
#include "nn/thread_pool.h"

namespace miser::learn {

/// Row `i` of a dense matrix of `cols` columns.
inline std::span<float> row_of(std::vector<float>& matrix, std::size_t i, std::size_t cols) {
  return std::span(matrix).subspan(i * cols, cols);
}
inline std::span<const float> row_of(const std::vector<float>& matrix, std::size_t i, std::size_t cols) {
  return std::span(matrix).subspan(i * cols, cols);
}

/// Calls body(i) for all i < n, some rows at a time.
template <typename Body>
void for_rows(nn::ThreadPool& pool, std::size_t n, const Body& body) {
  constexpr std::size_t kRowsPerItem = 8;
  pool.parallel_for(divide_up(n, kRowsPerItem), [&](std::size_t item, int) {
    const std::size_t end = std::min(n, (item + 1) * kRowsPerItem);
    for (std::size_t i = item * kRowsPerItem; i < end; ++i) body(i);
  });
}

/// Cosine and sine of each rotated pair at the positions [0, n): [n, rope_dim / 2, 2], for nn::apply_rope.
inline std::vector<float> rope_angles(const Model& model, std::size_t n) {
  const std::size_t row = 2 * model.rope_frequencies().size();
  std::vector<float> angles(n * row);
  for (std::size_t i = 0; i < n; ++i) nn::rope_cos_sin(i, model.rope_frequencies(), row_of(angles, i, row));
  return angles;
}

}  // namespace miser::learn
