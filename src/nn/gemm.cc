#include "nn/gemm.h"

#include <dnnl.h>

#include <stdexcept>
#include <string>

extern "C" void omp_set_num_threads(int n_threads);

namespace miser::nn {
namespace {

/// Debian's oneDNN runs its loops through OpenMP, whose thread count is a setting of each calling thread.
void stay_on_this_thread() {
  thread_local const bool done = (omp_set_num_threads(1), true);
  static_cast<void>(done);
}

/// c [m, n] *= beta, without reading c when beta is 0.
void scale_rows(std::size_t m, std::size_t n, float beta, float* c, std::size_t ldc) {
  for (std::size_t i = 0; i < m; ++i) {
    for (float* to = c + i * ldc; to < c + i * ldc + n; ++to) *to = beta == 0.0F ? 0.0F : beta * *to;
  }
}

// Few rows of A go there too: a plain loop took 2 to 3 times as long at 3 x 256 x 64 (measured).
void gemm(char transpose_b, std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a,
          std::size_t lda, const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc) {
  if (m == 0 || n == 0) return;
  if (k == 0) return scale_rows(m, n, beta, c, ldc);
  stay_on_this_thread();
  const auto size = [](std::size_t value) { return static_cast<dnnl_dim_t>(value); };
  const dnnl_status_t status = dnnl_sgemm('N', transpose_b, size(m), size(n), size(k), alpha, a, size(lda), b,
                                          size(ldb), beta, c, size(ldc));
  if (status != dnnl_success) throw std::runtime_error("dnnl_sgemm: status " + std::to_string(status));
}

}  // namespace

void gemm_nt(std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a, std::size_t lda,
             const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc) {
  gemm('T', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void gemm_nn(std::size_t m, std::size_t n, std::size_t k, float alpha, const float* a, std::size_t lda,
             const float* b, std::size_t ldb, float beta, float* c, std::size_t ldc) {
  gemm('N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

}  // namespace miser::nn
