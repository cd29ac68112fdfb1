#include "kv/demotion.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "kv/codec.h"

namespace miser::kv {
namespace {

constexpr float kLowestRating = -48;
constexpr float kRatingsPerNat = 4;

/// Relative squared error of a Gaussian vector of many channels, docs/codecs.md.
constexpr std::array<float, kWidthCount> kError = {0.363F, 0.114F, 0.0325F, 0.0089F, 0.000035F, 0};

}  // namespace

std::uint8_t rating_of(float log_sensitivity) {
  const float at = (log_sensitivity - kLowestRating) * kRatingsPerNat;
  // Written so that what is no number rates lowest.
  return at > 0 ? static_cast<std::uint8_t>(std::min(at + 0.5F, 255.0F)) : 0;
}

DemotionSteps::DemotionSteps(std::size_t head_dim) {
  for (const Width width : kAllWidths) {
    const auto w = static_cast<std::size_t>(width);
    stored_[w] = payload_bytes(width, head_dim) + scale_bytes(width) + sizeof(std::uint8_t);
    for (std::size_t to = w; to-- > 0;) {  // short heads take more bytes at 8 bits than at 16
      if (stored_[to] >= stored_[w]) continue;
      const std::size_t released = stored_[w] - stored_[to];
      steps_[w] = {kAllWidths[to], released,
                   std::log((kError[to] - kError[w]) / static_cast<float>(released))};
      break;
    }
  }
}

float DemotionSteps::log_price(Width width, std::uint8_t rating) const {
  return kLowestRating + static_cast<float>(rating) / kRatingsPerNat + next(width)->log_loss;
}

Width DemotionSteps::at_price(Width width, std::uint8_t rating, float price) const {
  while (next(width) && log_price(width, rating) < price) width = next(width)->to;
  return width;
}

// Of a vector each step costs more than the one before, so the cheapest steps of all never skip one.
void DemotionPlan::solve(std::size_t wanted) {
  struct Steps {
    std::uint64_t n = 0;
    std::size_t released = std::numeric_limits<std::size_t>::max();  ///< by each, at least
  };
  std::map<float, Steps> by_price;
  for (const Width first : kAllWidths) {
    for (std::size_t rating = 0; rating < kRatings; ++rating) {
      const std::uint64_t n = vectors_[static_cast<std::size_t>(first)][rating];
      if (n == 0) continue;
      for (Width width = first; steps_.next(width); width = steps_.next(width)->to) {
        Steps& steps = by_price[steps_.log_price(width, static_cast<std::uint8_t>(rating))];
        steps.n += n;
        steps.released = std::min(steps.released, steps_.next(width)->released);
      }
    }
  }
  std::size_t released = 0;
  for (const auto& [price, steps] : by_price) {
    if (released >= wanted) break;
    log_price_ = price;
    n_at_price_ = std::min<std::uint64_t>(steps.n, (wanted - released + steps.released - 1) / steps.released);
    released += n_at_price_ * steps.released;
  }
}

Width DemotionPlan::take(Width width, std::uint8_t rating) {
  width = steps_.at_price(width, rating, log_price_);
  if (n_at_price_ == 0 || !steps_.next(width) || steps_.log_price(width, rating) > log_price_) return width;
  --n_at_price_;
  return steps_.next(width)->to;
}

}  // namespace miser::kv
