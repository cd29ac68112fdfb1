#pragma once
#include <cstddef>

namespace miser::nn {

// The products of nn/gemm.h for a few rows of A, where oneDNN spends its time on set-up and packing.
void small_gemm_nt(std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a, std::size_t lda,
                   const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc);
void small_gemm_nn(std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a, std::size_t lda,
                   const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc);

}  // namespace miser::nn
