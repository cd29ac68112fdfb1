#pragma once
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

namespace miser::policy {

/// Keys as they were before RoPE turned them, which says what a token is and not where it stands: a function
/// learned from short texts then holds for long ones. Angles of the last kRemembered positions are kept,
/// because the layers take the same tokens one after the other.
class UnturnedKeys {
 public:
  /// Angle per position of each turned pair, radians; none leaves keys as they are.
  explicit UnturnedKeys(std::vector<float> frequencies);

  /// In place: keys [n, n_kv_heads, head_dim] of tokens whose RoPE counts `first`, first + 1, ... REQUIRES: 2
  /// frequencies.size() <= head_dim.
  void turn_back(std::span<float> keys, std::size_t n_kv_heads, std::size_t head_dim, std::size_t first);

 private:
  static constexpr std::size_t kRemembered = 1024;
  static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

  std::span<const float> cos_sin(std::size_t position);

  std::vector<float> frequencies_;
  std::vector<std::size_t> position_;  ///< [kRemembered] whose angles are kept
  std::vector<float> cos_sin_;         ///< [kRemembered, 2 frequencies] of the inverse turn
};

}  // namespace miser::policy
