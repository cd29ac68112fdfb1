#pragma once
#include <cstddef>
#include <span>
#include <vector>

namespace miser::learn {

/// Adam (Kingma & Ba 2015) with its usual decays, 0.9 and 0.999.
class Adam {
 public:
  explicit Adam(std::vector<float> start)
      : values_(std::move(start)), first_(values_.size()), second_(values_.size()) {}

  std::span<const float> values() const { return values_; }
  /// REQUIRES: gradient.size() == values().size().
  void step(std::span<const float> gradient, double rate);

 private:
  std::vector<float> values_;
  std::vector<float> first_;   ///< running mean of gradients
  std::vector<float> second_;  ///< and of their squares
  std::size_t steps_ = 0;
};

}  // namespace miser::learn
