#include "nn/gemm.h"

#include <dnnl.h>

#include <stdexcept>
#include <string>

#include "nn/small_gemm.h"

extern "C" void omp_set_num_threads(int n_threads);

namespace miser::nn {
namespace {

// Up to so many rows of A a plain loop beats the set-up and packing of oneDNN (measured).
constexpr std::size_t kSmallRows = 4;

/// Debian's oneDNN runs its loops through OpenMP, whose thread count is a setting of each calling thread.
void stay_on_this_thread() {
  thread_local const bool done = (omp_set_num_threads(1), true);
  static_cast<void>(done);
}

void library_gemm(char transpose_b, std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a,
                  std::size_t lda, const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc) {
  stay_on_this_thread();
  const auto size = [](std::size_t value) { return static_cast<dnnl_dim_t>(value); };
  const dnnl_status_t status = dnnl_sgemm('N', transpose_b, size(m), size(n), size(k), alpha, a, size(lda), b,
                                          size(ldb), beta, c, size(ldc));
  if (status != dnnl_success) throw std::runtime_error("dnnl_sgemm: status " + std::to_string(status));
}

}  // namespace

void gemm_nt(std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a, std::size_t lda,
             const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc) {
  if (m == 0 || n == 0) return;
  if (m <= kSmallRows || k == 0) return small_gemm_nt(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  library_gemm('T', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void gemm_nn(std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a, std::size_t lda,
             const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc) {
  if (m == 0 || n == 0) return;
  if (m <= kSmallRows || k == 0) return small_gemm_nn(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  library_gemm('N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

}  // namespace miser::nn
