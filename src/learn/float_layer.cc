#include "learn/float_layer.h"

#include <algorithm>
#include <initializer_list>

#include "base/divide_up.h"

namespace miser::learn {
namespace {

constexpr std::size_t kRowsPerItem = 64;

void stack(std::initializer_list<const nn::Matrix*> matrices, std::vector<float>& out, nn::ThreadPool& pool) {
  std::size_t size = 0;
  for (const nn::Matrix* w : matrices) size += w->rows() * w->cols();
  out.resize(size);
  float* to = out.data();
  for (const nn::Matrix* w : matrices) {
    const std::size_t cols = w->cols();
    pool.parallel_for(divide_up(w->rows(), kRowsPerItem), [&](std::size_t item, int) {
      const std::size_t end = std::min(w->rows(), (item + 1) * kRowsPerItem);
      for (std::size_t r = item * kRowsPerItem; r < end; ++r) w->row(r, {to + r * cols, cols});
    });
    to += w->rows() * cols;
  }
}

}  // namespace

void FloatLayer::load(const LayerWeights& w, nn::ThreadPool& pool) {
  stack({&w.wq, &w.wk, &w.wv}, qkv, pool);
  stack({&w.wo}, o, pool);
  stack({&w.w_gate, &w.w_up}, gate_up, pool);
  stack({&w.w_down}, down, pool);
}

}  // namespace miser::learn
