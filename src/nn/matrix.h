#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "gguf/file.h"
#include "nn/thread_pool.h"
#include "nn/tiles.h"

namespace miser::nn {

/// A weight matrix [rows, cols] of a GGUF, kept in its own format. Formats with a fast row kernel (Q4_0,
/// Q4_1, Q8_0, F16) are repacked once: 16 rows lie across the lanes (nn/tiles.h), so that decoding unpacks
/// them in registers. Others, and single rows of all, are read in place from the mapped file, which must
/// outlive the matrix.
class Matrix {
 public:
  Matrix() = default;
  /// Throws Error when a format is unknown. REQUIRES: a 1- or 2-dimensional tensor.
  explicit Matrix(const gguf::Tensor& tensor);

  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }
  const gguf::TensorFormat& format() const { return *format_; }
  /// Bytes read by one matrix-vector product.
  std::size_t bytes() const;

  /// Dequantises row `row` to cols() floats (token embedding).
  void row(std::size_t row, std::span<float> out) const;

 private:
  friend struct MatrixTiles;
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
  const gguf::TensorFormat* format_ = nullptr;
  std::span<const std::byte> data_;  ///< row-major blocks in the mapped file
  TileKind tile_kind_ = TileKind::kNone;
  AlignedBytes tiles_;  ///< repacked rows, null for formats without a row kernel
};

/// One of several products that share their input: y[i, r] = sum_c w[r, c] x[i, c].
struct Product {
  const Matrix* w;
  float* y;  ///< [n, w->rows()], dense
};

/// From so many rows of x on, unpacking to float and a GEMM beat the row kernels (measured with AVX2; of
/// integer formats with VNNI never). With independent_rows() of them (nn/gemm.h) a row of y depends neither
/// on the others nor on their number.
inline constexpr std::size_t kManyRows = 32;

/// Whether products of integer formats with n rows of x round these to 16 bits (nn/inputs.h). Others are
/// float products.
bool rounds_inputs(std::size_t n);

/// Computes all `products` of x [n, cols] in one parallel loop. Few rows read each weight once through the
/// row kernels, those of 4 and 8 bits times x rounded to 16 bits (nn/inputs.h); kManyRows and more unpack
/// tiles of rows to float and multiply them with oneDNN, unless row kernels are as fast (nn/row_kernels.h).
/// REQUIRES: all matrices have the same cols().
void multiply(std::span<const Product> products, const float* x, std::size_t n, ThreadPool& pool);

}  // namespace miser::nn
