#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "kv/rotation.h"
#include "kv/segment.h"

namespace miser::kv {

/// Query rows of one KV head: row = query * group + head within the group. All are scaled by 1 /
/// sqrt(head_dim).
struct QueryRows {
  std::size_t n = 0;
  const float* plain = nullptr;       ///< [n, head_dim] q
  const float* rotated = nullptr;     ///< [n, head_dim] R q
  const float* norm2 = nullptr;       ///< [n] |q|^2, for the score correction
  const float* centre_dot = nullptr;  ///< [n] q . centre of the keys

  QueryRows subspan(std::size_t first, std::size_t count, std::size_t head_dim) const {
    return {count, plain + first * head_dim, rotated + first * head_dim, norm2 + first, centre_dot + first};
  }
};

/// The query rows of one KV head in a layer, kept.
class QueryBuffer {
 public:
  /// Takes n * group rows out of q [n, q_dim]; `q` points to the first of the head. Without `rotate` only
  /// what exact keys need is valid.
  void fill(const float* q, std::size_t n, std::size_t group, std::size_t q_dim, const Rotation& rotation,
            std::span<const float> key_centre, bool rotate);
  QueryRows rows() const {
    return {centre_dot_.size(), plain_.data(), rotated_.data(), norm2_.data(), centre_dot_.data()};
  }

 private:
  std::vector<float> plain_;
  std::vector<float> rotated_;
  std::vector<float> norm2_;
  std::vector<float> centre_dot_;
};

/// scores [q.n, keys.n_tokens] of packed keys, centre and correction included.
void score_tile(const QueryRows& q, const Tile& keys, std::size_t head_dim, float* scores);

/// Softmax-weighted sums of values for several query rows, gathered tile by tile with a running maximum
/// (Milakov & Gimelshein 2018; Dao et al. 2022). Plain and rotated values are summed apart and joined at the
/// end.
class OnlineSoftmax {
 public:
  void reset(std::size_t rows, std::size_t head_dim, bool track_squares);

  /// Takes in a tile of packed keys and values, all of them visible to the rows [first, first + q.n).
  /// `scores` is scratch.
  void attend(const QueryRows& q, std::size_t first, const Tile& keys, const Tile& values,
              std::vector<float>& scores);

  /// Turns the scores of one row into exp(score - maximum so far), in place, and rescales what was gathered
  /// before. Returns their sum. The caller then adds the weighted values with `add_plain`.
  float fold(std::size_t row, std::span<float> scores);
  /// plain[first + i] += weights [n, n_keys] * values [n_keys, head_dim].
  void add_plain(std::size_t first, std::size_t n, const float* weights, std::size_t ld, const float* values,
                 std::size_t n_keys);

  /// Sums of weighted values of rows from `first` on, to add to: [head_dim] each, plain or rotated.
  float* plain_sums(std::size_t first) { return plain_.data() + first * head_dim_; }
  float* rotated_sums(std::size_t first) {
    any_rotated_ = true;
    return rotated_.data() + first * head_dim_;
  }
  /// Weights of rows from `first` on whose values in the sums lack their centre, to add to.
  float* centred_sums(std::size_t first) { return centred_.data() + first; }

  /// Joins sums over other keys of the same rows.
  void merge(const OnlineSoftmax& other);

  /// out [n, head_dim] = the attention output of rows [first, first + n).
  void finish(std::size_t first, std::size_t n, const Rotation& rotation, std::span<const float> value_centre,
              std::span<float> out);

  float max(std::size_t row) const { return max_[row]; }  ///< of the scores
  float sum(std::size_t row) const { return sum_[row]; }  ///< of exp(score - maximum)
  /// Variance of the row's `n_keys` softmax weights. REQUIRES: squares are tracked.
  float variance(std::size_t row, std::size_t n_keys) const;

 private:
  void rescale(std::size_t row, float new_max);

  std::size_t head_dim_ = 0;
  bool track_squares_ = false;
  bool any_rotated_ = false;
  std::vector<float> max_;          ///< [rows]
  std::vector<float> sum_;          ///< [rows]
  std::vector<float> sum_squares_;  ///< [rows]
  std::vector<float> centred_;      ///< [rows] weight of values that lack their centre
  std::vector<float> plain_;        ///< [rows, head_dim]
  std::vector<float> rotated_;      ///< [rows, head_dim]
};

}  // namespace miser::kv
