#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kv/segment.h"

namespace miser::kv {

struct QueryRows;

/// Most query rows that one call takes.
inline constexpr std::size_t kMaxPackedRows = 16;

/// Largest level of a query: its upper byte, when the lower one counts as signed, is at most 127.
inline constexpr std::int32_t kMaxQueryLevel = 127 * 256;

/// Floats in a row of scores or weights over n tokens: whole vector registers.
constexpr std::size_t padded_tokens(std::size_t n) {
  return (n + 15) / 16 * 16;
}

/// Query rows of one KV head, made ready once per step for every packed segment: rotated rows in 16 bits
/// with a scale each, as docs/codecs.md says.
class PackedQueries {
 public:
  /// `rows` must outlive it. REQUIRES: 1 <= rows.n <= kMaxPackedRows.
  void prepare(const QueryRows& rows, std::size_t head_dim);

  std::size_t size() const { return n_; }
  const float* plain(std::size_t row) const { return plain_ + row * head_dim_; }
  /// Of the rotated row, zero from head_dim up to a multiple of 64.
  const std::int16_t* levels(std::size_t row) const { return levels_.data() + row * stride_; }
  float scale(std::size_t row) const { return scale_[row]; }
  std::int32_t level_sum(std::size_t row) const { return level_sum_[row]; }
  float norm2(std::size_t row) const { return norm2_[row]; }
  float centre_dot(std::size_t row) const { return centre_dot_[row]; }

 private:
  std::size_t n_ = 0;
  std::size_t head_dim_ = 0;
  std::size_t stride_ = 0;
  const float* plain_ = nullptr;         ///< [n, head_dim]
  const float* norm2_ = nullptr;         ///< [n]
  const float* centre_dot_ = nullptr;    ///< [n]
  std::vector<std::int16_t> levels_;     ///< [n, stride], |level| <= kMaxQueryLevel
  std::vector<float> scale_;             ///< [n]
  std::vector<std::int32_t> level_sum_;  ///< [n]
};

/// Four numbers that multiply the four levels in a lane of a register, as the target's product wants them.
struct Factors {
  std::uint32_t a;
  std::uint32_t b;
};

/// What one thread needs while it reads segments; kept so that reading allocates nothing.
struct PackedScratch {
  std::vector<Factors> factors;
  std::vector<std::byte> tile;
  std::vector<std::uint16_t> halves;
  std::vector<std::int32_t> sums;
};

/// scores [q.size(), ld] = the scores of all vectors of `keys` in token order, centre and score correction
/// included. Rows are written up to padded_tokens(keys.size()); what lies behind the last token means
/// nothing. `next` is what the thread reads afterwards; it is prefetched.
/// REQUIRES: ld >= padded_tokens(keys.size()).
void key_scores(const Segment& keys, const Side& side, const PackedQueries& q, float* scores, std::size_t ld,
                PackedScratch& scratch, std::span<const std::byte> next = {});

/// Weighted sums of values, added to what is there. 1- to 8-bit vectors are summed as they are stored: the
/// whole sum is plain + R^T rotated + centred * centre.
struct ValueSums {
  float* plain;    ///< [n_rows, head_dim], the vectors of 16 bits
  float* rotated;  ///< [n_rows, head_dim], the others
  float* centred;  ///< [n_rows], the weight of the others
};

/// Adds the vectors of `values` times weights [n_rows, ld], which are in token order and not negative. `next`
/// as above.
/// REQUIRES: 1 <= n_rows <= kMaxPackedRows, ld >= padded_tokens(values.size()).
void add_values(const Segment& values, const Side& side, const float* weights, std::size_t ld,
                std::size_t n_rows, const ValueSums& sums, PackedScratch& scratch,
                std::span<const std::byte> next = {});

}  // namespace miser::kv
