#pragma once
#include <cstddef>

namespace miser::learn {

/// Which tokens a query reads packed: the block [b, b + block) if and only if b + block + window <= its
/// position.
struct PositionRule {
  std::size_t window = 32;
  std::size_t block = 32;

  /// First position that the query at `position` reads exactly, as kv::Cache::exact_begin.
  std::size_t exact_begin(std::size_t position) const {
    return position < window ? 0 : (position - window) / block * block;
  }
  /// Queries of a context of `length` that read the token at `position` packed.
  std::size_t future(std::size_t position, std::size_t length) const {
    const std::size_t first = position / block * block + block + window;
    return first < length ? length - first : 0;
  }
};

}  // namespace miser::learn
