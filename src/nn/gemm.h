#pragma once
#include <algorithm>
#include <cstddef>

#include "base/divide_up.h"

namespace miser::nn {

/// Row-major float products on the calling thread alone (oneDNN).
/// C [m, n] = alpha * A [m, k] * B^T + beta * C, B [n, k]. `ld*` are row strides in elements.
/// C is not read when beta is 0; k = 0 leaves beta * C.
void gemm_nt(std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a, std::size_t lda,
             const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc);
/// C [m, n] = alpha * A [m, k] * B + beta * C, B [k, n].
void gemm_nn(std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a, std::size_t lda,
             const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc);

/// The least m of at least `n` with which a row of C depends neither on the other rows of A nor on m. oneDNN
/// adds in another order (measured) in what whole pairs of its 6-row kernels leave over on AVX2, and below 16
/// rows on AVX-512.
constexpr std::size_t independent_rows(std::size_t n) {
  constexpr std::size_t kPair = 12;
  return std::max<std::size_t>(2, divide_up(n, kPair)) * kPair;
}

}  // namespace miser::nn
