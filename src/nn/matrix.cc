#include "nn/matrix.h"

#include <algorithm>
#include <cassert>
#include <vector>

#include "base/divide_up.h"
#include "base/error.h"
#include "nn/gemm.h"
#include "nn/row_kernels.h"

namespace miser::nn {
namespace {

// Rows of a product that are unpacked at once: 48 x 1536 floats are 288 KiB, which leaves room in a 512 KiB
// L2. Few, and so that threads get equal shares: of 576 rows 64 make 9 strips, and took 2 to 8 % longer on
// two threads.
constexpr std::size_t kGemmRows = 48;
// Row kernels: enough items for balance, each with enough tiles to make a stream that is worth prefetching.
constexpr std::size_t kItemsPerThread = 8;
constexpr std::size_t kMaxTilesPerItem = 64;

/// `size` floats that live as long as the thread; contents are those of the last use.
float* scratch(std::size_t size) {
  thread_local std::vector<float> buffer;
  if (buffer.size() < size) buffer.resize(size);
  return buffer.data();
}

}  // namespace

Matrix::Matrix(const gguf::Tensor& tensor) {
  if (tensor.format == nullptr) fail("tensor {}: unknown format", tensor.name);
  assert(tensor.shape.size() == 1 || tensor.shape.size() == 2);
  rows_ = tensor.rows();
  cols_ = tensor.cols();
  format_ = tensor.format;
  data_ = tensor.data;
  assert(cols_ % format_->block_elements == 0);
  assert(data_.size() == rows_ * (cols_ / format_->block_elements) * format_->block_bytes);
  tile_kind_ = nn::tile_kind(format_->type);
  if (tile_kind_ != TileKind::kNone) tiles_ = repack(*format_, data_.data(), rows_, cols_);
}

std::size_t Matrix::bytes() const {
  if (tile_kind_ == TileKind::kNone) return data_.size();
  return divide_up(rows_, kTileRows) * tile_bytes(tile_kind_, cols_);
}

void Matrix::row(std::size_t row, std::span<float> out) const {
  assert(row < rows_ && out.size() == cols_);
  const std::size_t n_blocks = cols_ / format_->block_elements;
  format_->unpack(data_.data() + row * n_blocks * format_->block_bytes, n_blocks, out.data());
}

/// What multiply() sees of a matrix.
struct MatrixTiles {
  static TileKind kind(const Matrix& w) { return w.tile_kind_; }
  static bool reads_levels(const Matrix& w) {
    return w.tile_kind_ != TileKind::kNone && w.tile_kind_ != TileKind::kF16;
  }
  static const std::byte* tile(const Matrix& w, std::size_t index) {
    return w.tiles_.get() + index * tile_bytes(w.tile_kind_, w.cols_);
  }
};

namespace {

/// Rows [16 tile, 16 tile + 16) of one product through the row kernels.
void multiply_rows(const Product& product, std::size_t tile, const Inputs& in) {
  const Matrix& w = *product.w;
  const std::size_t first = tile * kTileRows;
  const std::size_t n_rows = std::min(kTileRows, w.rows() - first);
  if (const TileKind kind = MatrixTiles::kind(w); kind != TileKind::kNone) {
    multiply_tile(kind, MatrixTiles::tile(w, tile), in, n_rows, product.y + first, w.rows());
    return;
  }
  float* const row = scratch(in.cols);
  for (std::size_t r = first; r < first + n_rows; ++r) {
    w.row(r, {row, in.cols});
    for (std::size_t i = 0; i < in.n; ++i)
      product.y[i * w.rows() + r] = dot(row, in.x + i * in.cols, in.cols);
  }
}

/// Rows [kGemmRows strip, kGemmRows (strip + 1)) of one product: unpacked to float, then y = x w^T.
void multiply_strip(const Product& product, std::size_t strip, const Inputs& in) {
  const Matrix& w = *product.w;
  const std::size_t first = strip * kGemmRows;
  const std::size_t n_rows = std::min(kGemmRows, w.rows() - first);
  float* const y = product.y + first;
  float* const strip_w = scratch(kGemmRows * in.cols);
  if (const TileKind kind = MatrixTiles::kind(w); kind != TileKind::kNone) {
    for (std::size_t r = 0; r < n_rows; r += kTileRows) {
      unpack_tile(kind, MatrixTiles::tile(w, (first + r) / kTileRows), in.cols, strip_w + r, kGemmRows);
    }
    gemm_nn(in.n, n_rows, in.cols, 1.0F, in.x, in.cols, strip_w, kGemmRows, 0.0F, y, w.rows());
    return;
  }
  for (std::size_t r = 0; r < n_rows; ++r) w.row(first + r, {strip_w + r * in.cols, in.cols});
  gemm_nt(in.n, n_rows, in.cols, 1.0F, in.x, in.cols, strip_w, in.cols, 0.0F, y, w.rows());
}

/// Cuts the rows of all products into units of `unit_rows` and runs f(product, unit) for each, `group` units
/// in a row as one item of the pool.
template <typename F>
void for_each_unit(std::span<const Product> products, std::size_t unit_rows, std::size_t max_group,
                   ThreadPool& pool, F f) {
  std::size_t n_units = 0;
  for (const Product& product : products) n_units += divide_up(product.w->rows(), unit_rows);
  const std::size_t n_wanted = kItemsPerThread * static_cast<std::size_t>(pool.size());
  const std::size_t group = std::clamp<std::size_t>(n_units / n_wanted, 1, max_group);
  pool.parallel_for(divide_up(n_units, group), [&](std::size_t item, int) {
    std::size_t unit = item * group;
    std::size_t left = std::min(group, n_units - unit);
    for (const Product& product : products) {
      const std::size_t n = divide_up(product.w->rows(), unit_rows);
      for (; unit < n && left > 0; ++unit, --left) f(product, unit);
      if (left == 0) return;
      unit -= n;
    }
  });
}

}  // namespace

void multiply(std::span<const Product> products, const float* x, std::size_t n, ThreadPool& pool) {
  if (products.empty() || n == 0) return;
  Inputs in{x, n, products.front().w->cols()};
  assert(std::ranges::all_of(products, [&](const Product& p) { return p.w->cols() == in.cols; }));
  if (n >= kManyRows) {
    for_each_unit(products, kGemmRows, 1, pool,
                  [&](const Product& product, std::size_t strip) { multiply_strip(product, strip, in); });
    return;
  }
  if (std::ranges::any_of(products, [](const Product& p) { return MatrixTiles::reads_levels(*p.w); }))
    round_inputs(in);
  for_each_unit(products, kTileRows, kMaxTilesPerItem, pool,
                [&](const Product& product, std::size_t tile) { multiply_rows(product, tile, in); });
}

}  // namespace miser::nn
