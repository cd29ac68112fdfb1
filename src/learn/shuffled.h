#pragma once
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace miser::learn {

/// 0 to n - 1 in an order that `random` alone decides, on every machine (std::shuffle leaves it to the
/// library).
inline std::vector<std::uint32_t> shuffled(std::size_t n, std::mt19937_64& random) {
  std::vector<std::uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0U);
  for (std::size_t i = n; i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  return order;
}

}  // namespace miser::learn
