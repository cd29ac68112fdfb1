#pragma once
#include <cstddef>
#include <span>
#include <vector>

namespace miser::kv {

/// The fixed orthonormal transform before quantising: sign flips, then a Hadamard transform. Where head_dim
/// is no power of two it works on blocks of its binary expansion, largest first (80 = 64 + 16). Spreads
/// outliers over all channels; q gets the same rotation, so dot products are unchanged. The result for a row
/// does not depend on how many rows are passed. Any thread may use it.
class Rotation {
 public:
  /// REQUIRES: head_dim > 0.
  explicit Rotation(std::size_t head_dim);
  std::size_t head_dim() const { return factors_.size(); }
  /// x [n, head_dim] -> R x, row by row, in place.
  void apply(std::span<float> rows) const;
  /// R^T x, in place.
  void invert(std::span<float> rows) const;

 private:
  std::vector<float> factors_;  ///< +-1 / sqrt(size of the channel's block), the same in every build
};

}  // namespace miser::kv
