#include "nn/small_gemm.h"

#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nn/small_gemm.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace miser::nn::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

constexpr std::size_t kChains = 4;  // independent sums, against the latency of the multiply-add

/// beta * c, where c is not read when beta is 0 (it may be uninitialised).
HWY_INLINE float scaled(float beta, const float* c) {
  return beta == 0.0F ? 0.0F : beta * *c;
}

/// dots[j] = sum_p a[p] b[j * ldb + p] for j < n_rows.
template <std::size_t n_rows>
HWY_INLINE void dot_rows(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, std::size_t ldb,
                         std::size_t k, float* dots) {
  const Floats d;
  Vector sums[n_rows];
  for (auto& sum : sums) sum = hn::Zero(d);
  std::size_t p = 0;
  for (; p + hn::Lanes(d) <= k; p += hn::Lanes(d)) {
    const Vector va = hn::LoadU(d, a + p);
    HWY_UNROLL(4)
    for (std::size_t j = 0; j < n_rows; ++j) sums[j] = hn::MulAdd(va, hn::LoadU(d, b + j * ldb + p), sums[j]);
  }
  for (std::size_t j = 0; j < n_rows; ++j) {
    dots[j] = hn::GetLane(hn::SumOfLanes(d, sums[j]));
    for (std::size_t q = p; q < k; ++q) dots[j] += a[q] * b[j * ldb + q];
  }
}

void small_gemm_nt(std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a, std::size_t lda,
                   const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc) {
  for (std::size_t j = 0; j < n; j += kChains) {
    const std::size_t n_rows = n - j < kChains ? n - j : kChains;
    for (std::size_t i = 0; i < m; ++i) {
      float dots[kChains];
      if (n_rows == kChains) {
        dot_rows<kChains>(a + i * lda, b + j * ldb, ldb, k, dots);
      } else {
        for (std::size_t r = 0; r < n_rows; ++r)
          dot_rows<1>(a + i * lda, b + (j + r) * ldb, ldb, k, dots + r);
      }
      float* const to = c + i * ldc + j;
      for (std::size_t r = 0; r < n_rows; ++r) to[r] = alpha * dots[r] + scaled(beta, to + r);
    }
  }
}

/// c[j] = alpha sum_p a[p] b[p * ldb + j] + beta c[j] for `n_vectors` vectors of tag d.
template <std::size_t n_vectors, class D>
HWY_INLINE void combine_rows(D d, std::size_t k, float alpha, const float* HWY_RESTRICT a,
                             const float* HWY_RESTRICT b, std::size_t ldb, float beta,
                             float* HWY_RESTRICT c) {
  const std::size_t lanes = hn::Lanes(d);
  hn::Vec<D> sums[n_vectors];
  for (auto& sum : sums) sum = hn::Zero(d);
  for (std::size_t p = 0; p < k; ++p) {
    const auto va = hn::Set(d, a[p]);
    HWY_UNROLL(4)
    for (std::size_t v = 0; v < n_vectors; ++v) {
      sums[v] = hn::MulAdd(va, hn::LoadU(d, b + p * ldb + v * lanes), sums[v]);
    }
  }
  for (std::size_t v = 0; v < n_vectors; ++v) {
    auto out = hn::Mul(hn::Set(d, alpha), sums[v]);
    if (beta != 0.0F) out = hn::MulAdd(hn::Set(d, beta), hn::LoadU(d, c + v * lanes), out);
    hn::StoreU(out, d, c + v * lanes);
  }
}

void small_gemm_nn(std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a, std::size_t lda,
                   const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc) {
  const Floats d;
  const hn::CappedTag<float, 1> d1;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t i = 0; i < m; ++i) {
    const float* const row = a + i * lda;
    float* const to = c + i * ldc;
    std::size_t j = 0;
    for (; j + kChains * lanes <= n; j += kChains * lanes) {
      combine_rows<kChains>(d, k, alpha, row, b + j, ldb, beta, to + j);
    }
    for (; j + lanes <= n; j += lanes) combine_rows<1>(d, k, alpha, row, b + j, ldb, beta, to + j);
    for (; j < n; ++j) combine_rows<1>(d1, k, alpha, row, b + j, ldb, beta, to + j);
  }
}

}  // namespace miser::nn::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::nn {

HWY_EXPORT(small_gemm_nt);
HWY_EXPORT(small_gemm_nn);

void small_gemm_nt(std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a, std::size_t lda,
                   const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc) {
  HWY_DYNAMIC_DISPATCH(small_gemm_nt)(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void small_gemm_nn(std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a, std::size_t lda,
                   const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc) {
  HWY_DYNAMIC_DISPATCH(small_gemm_nn)(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

}  // namespace miser::nn
#endif  // HWY_ONCE
