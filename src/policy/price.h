#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "policy/plan.h"
#include "policy/width_steps.h"

namespace miser::policy {

/// The price of a bit that makes the mean stored bits of all decided vectors meet a budget. It begins where
/// the plan's training text had it and moves only at multiples of kPeriod positions: there it is the one that
/// would have spent what is left of the budget on the vectors seen lately (a histogram of ln sensitivity),
/// moved by what sensitivities drift as attention spreads over more and more tokens.
class Price {
 public:
  static constexpr std::size_t kPeriod = 128;  ///< positions

  /// `budget`: stored bits per element. Without `log_price` it is unknown until the first period ends.
  Price(const Plan& plan, float budget, std::optional<float> log_price);

  /// Tells that vectors which are read packed from position `read_from` on come next.
  void advance(std::size_t read_from);
  /// ln of the price, in sensitivity per stored bit of an element; empty while it is unknown.
  std::optional<float> log_price() const { return log_price_; }
  /// The best width of a vector of this side (0: K, 1: V) at the price. REQUIRES: log_price().
  kv::Width choose(std::size_t side, float log_sensitivity) const {
    return steps_[side].at(log_sensitivity - *log_price_).width;
  }
  /// Counts a vector that was decided, whoever decided it.
  void count(std::size_t side, float log_sensitivity, kv::Width width);
  /// Positions are `n` less from now on, a multiple of kPeriod.
  void renumber(std::size_t n) { period_ -= std::min(period_, n / kPeriod); }
  /// What advance() and count() have made of it. load() throws Error for what no price saved.
  void save(ByteWriter& out) const;
  void load(ByteReader& in);
  /// Mean stored bits per element of all that was counted; 0 when nothing was.
  double mean_bits() const { return counted_ == 0 ? 0 : spent_ / counted_; }

 private:
  static constexpr float kLowest = -60;  ///< ln sensitivity of the first bin
  static constexpr std::size_t kBinsPerNat = 8;
  static constexpr std::size_t kBins = 80 * kBinsPerNat;

  float target() const;
  double forecast(float log_price) const;
  float drift() const;
  void solve();
  void begin_period();

  template <typename Self, typename F>
  static void for_each_number(Self& self, F&& f);

  /// Of the vectors of one period.
  struct Period {
    double log_sensitivity = 0;  ///< sum
    double n = 0;
  };

  std::array<WidthSteps, 2> steps_;
  std::array<float, kv::kWidthCount> stored_bits_;
  float budget_;
  double vectors_per_period_;
  std::optional<float> log_price_;
  std::size_t period_ = 0;
  double spent_ = 0;    ///< stored bits per element, summed over the counted vectors
  double counted_ = 0;  ///< vectors
  Period now_;
  Period before_;
  std::array<std::vector<float>, 2> lately_;  ///< [kBins] per side: vectors, older ones count less
};

/// ln of the price that the plan's training text had at `budget`; empty when the plan does not say.
std::optional<float> price_of(const Plan& plan, float budget);

}  // namespace miser::policy
