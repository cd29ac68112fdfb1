#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

#include "kv/width.h"

namespace miser::kv {

/// What a packed vector is worth, in one byte: ln of its sensitivity, the harm per unit of relative squared
/// error, in quarters of a nat from -48 on. Only comparisons between vectors of one cache count.
std::uint8_t rating_of(float log_sensitivity);

/// The steps by which packed vectors get narrower, and what they cost: the price of a step is the harm that
/// it adds per byte that it releases, sensitivity * (relative squared error after - before) / bytes.
class DemotionSteps {
 public:
  struct Step {
    Width to;
    std::size_t released;  ///< bytes
    float log_loss;        ///< ln(error added / bytes released)
  };

  explicit DemotionSteps(std::size_t head_dim);

  /// Bytes of one vector with its scale and its rating.
  std::size_t stored_bytes(Width width) const { return stored_[static_cast<std::size_t>(width)]; }
  /// The next step; empty where no narrower width is smaller.
  const std::optional<Step>& next(Width width) const { return steps_[static_cast<std::size_t>(width)]; }
  /// ln of the price of that step. REQUIRES: there is one.
  float log_price(Width width, std::uint8_t rating) const;
  /// The width that a vector has after all steps below this price.
  Width at_price(Width width, std::uint8_t rating, float log_price) const;

 private:
  std::array<std::size_t, kWidthCount> stored_{};
  std::array<std::optional<Step>, kWidthCount> steps_;
};

/// Which vectors give up bits so that a number of bytes is released: the cheapest steps first, and of steps
/// of one price those of the vectors that are asked for first. Count all vectors, then solve(), then ask for
/// each in a fixed order.
class DemotionPlan {
 public:
  explicit DemotionPlan(const DemotionSteps& steps) : steps_(steps) {}

  void count(Width width, std::uint8_t rating) { ++vectors_[static_cast<std::size_t>(width)][rating]; }
  /// Plans to release at least `wanted` bytes, or all that can be released.
  void solve(std::size_t wanted);
  /// The planned width of the next vector.
  Width take(Width width, std::uint8_t rating);
  /// ln of the price up to which all steps are taken.
  float log_price() const { return log_price_; }

 private:
  static constexpr std::size_t kRatings = 256;

  const DemotionSteps& steps_;
  std::array<std::array<std::uint32_t, kRatings>, kWidthCount> vectors_{};
  float log_price_ = -std::numeric_limits<float>::infinity();
  std::uint64_t n_at_price_ = 0;  ///< steps of exactly this price that are taken too
};

}  // namespace miser::kv
