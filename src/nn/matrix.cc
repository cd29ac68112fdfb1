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
// Rows of x that pass over the tiles of an item at a time. So y is written in order: a whole column of tiles
// at a time, it took a quarter longer for 512 rows of logits.
constexpr std::size_t kRowBlock = 48;

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

/// Rows [16 tile, 16 tile + 16) of one product with rows [first, first + n) of x through the row kernels.
void multiply_rows(const Product& product, std::size_t tile, const Inputs& in, std::size_t first,
                   std::size_t n) {
  const Matrix& w = *product.w;
  const std::size_t first_row = tile * kTileRows;
  const std::size_t n_rows = std::min(kTileRows, w.rows() - first_row);
  if (const TileKind kind = MatrixTiles::kind(w); kind != TileKind::kNone) {
    multiply_tile(kind, MatrixTiles::tile(w, tile), in, first, n, n_rows, product.y + first_row, w.rows());
    return;
  }
  float* const row = scratch(in.cols);
  for (std::size_t r = first_row; r < first_row + n_rows; ++r) {
    w.row(r, {row, in.cols});
    for (std::size_t i = first; i < first + n; ++i)
      product.y[i * w.rows() + r] = dot(row, in.x + i * in.cols, in.cols);
  }
}

/// `n_tiles` tiles of one product from `tile` on: blocks of x stay in L1 or L2, and y is written in order.
void multiply_tiles(const Product& product, std::size_t tile, std::size_t n_tiles, const Inputs& in) {
  for (std::size_t first = 0; first < in.n; first += kRowBlock) {
    for (std::size_t t = tile; t < tile + n_tiles; ++t)
      multiply_rows(product, t, in, first, std::min(kRowBlock, in.n - first));
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

bool reads_levels(const Product& product) {
  return MatrixTiles::reads_levels(*product.w);
}

bool unpacks(std::span<const Product> products, std::size_t n) {
  return n >= kManyRows && !(takes_many_rows() && std::ranges::all_of(products, reads_levels));
}

/// Cuts the rows of all products into units of `unit_rows` and runs f(product, first unit, n) for each run of
/// `max_group` or fewer, an item of the pool.
template <typename F>
void for_each_group(std::span<const Product> products, std::size_t unit_rows, std::size_t max_group,
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
      if (unit < n) {
        const std::size_t n_here = std::min(left, n - unit);
        f(product, unit, n_here);
        if ((left -= n_here) == 0) return;
        unit = 0;
      } else {
        unit -= n;
      }
    }
  });
}

}  // namespace

bool rounds_inputs(std::size_t n) {
  return n < kManyRows || takes_many_rows();
}

void multiply(std::span<const Product> products, const float* x, std::size_t n, ThreadPool& pool) {
  if (products.empty() || n == 0) return;
  thread_local Inputs inputs;  // keeps its memory: with 512 rows new pages took a tenth of the time
  Inputs& in = inputs;
  in.x = x;
  in.n = n;
  in.cols = products.front().w->cols();
  assert(std::ranges::all_of(products, [&](const Product& p) { return p.w->cols() == in.cols; }));
  if (unpacks(products, n)) {
    for_each_group(products, kGemmRows, 1, pool, [&](const Product& product, std::size_t strip, std::size_t) {
      multiply_strip(product, strip, in);
    });
    return;
  }
  if (std::ranges::any_of(products, reads_levels)) round_inputs(in, pool);
  for_each_group(products, kTileRows, kMaxTilesPerItem, pool,
                 [&](const Product& product, std::size_t tile, std::size_t n_tiles) {
                   multiply_tiles(product, tile, n_tiles, in);
                 });
}

}  // namespace miser::nn
