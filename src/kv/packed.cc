#include "kv/packed.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>

#include "base/divide_up.h"
#include "kv/online_softmax.h"
#include "kv/segment_tiles.h"

namespace miser::kv {

void PackedQueries::prepare(const QueryRows& rows, std::size_t head_dim) {
  constexpr float kRound = 0x1.8p23F;  // the lowest bits of a sum with it are the rounded number
  assert(rows.n >= 1 && rows.n <= kMaxPackedRows);
  n_ = rows.n;
  head_dim_ = head_dim;
  plain_ = rows.plain;
  norm2_ = rows.norm2;
  centre_dot_ = rows.centre_dot;
  stride_ = divide_up(head_dim, kSlab) * kSlab;
  levels_.assign(n_ * stride_, 0);
  scale_.resize(n_);
  level_sum_.resize(n_);
  for (std::size_t r = 0; r < n_; ++r) {
    const float* row = rows.rotated + r * head_dim;
    float largest = 0;
    for (std::size_t d = 0; d < head_dim; ++d) largest = std::max(largest, std::abs(row[d]));
    scale_[r] = largest / kMaxQueryLevel;
    const float inverse = largest > 0 ? kMaxQueryLevel / largest : 0;
    level_sum_[r] = 0;
    for (std::size_t d = 0; d < head_dim; ++d) {
      const auto level = static_cast<std::int16_t>(std::bit_cast<std::uint32_t>(row[d] * inverse + kRound));
      levels_[r * stride_ + d] = level;
      level_sum_[r] += level;
    }
  }
}

}  // namespace miser::kv
