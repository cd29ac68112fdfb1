#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/aligned_vector.h"
#include "kv/online_softmax.h"
#include "kv/segment.h"

namespace miser::kv {

/// The vectors of a tile as whole numbers, in the order in which integer products read them: two numbers of
/// 16 bits to an element. Vectors of 16 bits have no levels: zeros stand for them.
struct LevelTile {
  static constexpr std::size_t kTokens = 16;  ///< of keys side by side

  std::size_t n_tokens = 0;
  /// Keys: [ceil(n_tokens / 16), head_dim / 2, 16] channels 2c and 2c + 1 of a token. Values: [ceil(n_tokens
  /// / 2), head_dim] tokens 2t and 2t + 1 of a channel.
  AlignedVector<std::int32_t> pairs;
  std::vector<float> unit;           ///< [n_tokens, up to the next 16] of each token's levels
  std::vector<float> correction;     ///< the same of the tile (keys)
  std::vector<std::uint16_t> exact;  ///< tokens of 16 bits
  AlignedVector<float> exact_rows;   ///< [exact, head_dim]
};

/// Two levels as products take them.
constexpr std::int32_t level_pair(std::int32_t first, std::int32_t second) {
  return static_cast<std::int32_t>((static_cast<std::uint32_t>(first) & 0xFFFF) |
                                   static_cast<std::uint32_t>(second) << 16);
}

/// Query rows rounded to 16 bits.
struct QueryLevels {
  QueryRows q;
  const std::int32_t* pairs;  ///< [ceil(n / 4), head_dim / 2, 4] channels 2c and 2c + 1 of a row
  const float* unit;          ///< [n] of each row's levels
};

/// Attention of many query rows, as of a prompt, to packed vectors: what OnlineSoftmax::attend() does with
/// rows of floats, with products of codes and queries or weights of 16 bits. With VNNI that is twice as fast.
class LevelProducts {
 public:
  /// Whether these products are faster here than those of floats, and have kernels for this size.
  static bool suit(std::size_t head_dim);

  /// Rounds the rows of `q`, which must stay: each to 32767 times its largest magnitude.
  void set_queries(const QueryRows& q, std::size_t head_dim);
  /// The tiles that follow are of these. REQUIRES: both are rotated.
  void set_segment(const Tile& keys, const Tile& values);
  /// Takes the segment in for all rows, which are those of `state` from `first` on. All of it is visible to
  /// them.
  void attend(OnlineSoftmax& state, std::size_t first);

 private:
  void score(std::size_t first, std::size_t n);
  void add_values(OnlineSoftmax& state, std::size_t state_row, std::size_t n);

  std::size_t head_dim_ = 0;
  QueryRows q_;
  std::vector<std::int32_t> query_pairs_;  ///< [ceil(n / 4), head_dim / 2, 4]
  std::vector<float> query_unit_;          ///< [n, up to the next 4]
  LevelTile keys_;
  LevelTile values_;
  // Of a block of rows.
  std::vector<float> scores_;         ///< [rows, n_tokens up to the next 16]; later weights
  std::vector<std::int32_t> levels_;  ///< [rows, n_tokens / 2 up to the next 8] pairs of weights times units
  std::vector<float> level_unit_;     ///< [rows]
  std::vector<float> exact_columns_;  ///< [rows, exact] scores or weights
};

}  // namespace miser::kv
