#include "policy/price.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>

namespace miser::policy {
namespace {

/// Share of the text so far that the histogram remembers, and at least one period.
constexpr double kMemory = 0.25;
/// What is over or under spent is made good within this share of the text so far, and at least one period:
/// the longer the text, the calmer the price.
constexpr double kCorrection = 0.25;
/// Most that the target of a period may differ from the budget, relative.
constexpr float kMostCorrection = 0.3F;

}  // namespace

Price::Price(const Plan& plan, float budget, std::optional<float> log_price)
    : steps_{WidthSteps(plan, 0), WidthSteps(plan, 1)},
      stored_bits_(plan.stored_bits),
      budget_(budget),
      vectors_per_period_(static_cast<double>(kPeriod * 2 * plan.model.n_layers * plan.model.n_kv_heads)),
      log_price_(log_price) {
  for (auto& side : lately_) side.assign(kBins, 0.0F);
}

void Price::count(std::size_t side, float log_sensitivity, kv::Width width) {
  spent_ += stored_bits_[static_cast<std::size_t>(width)];
  ++counted_;
  // Written so that what is no number counts as the lowest.
  const float at = log_sensitivity > kLowest ? (log_sensitivity - kLowest) * kBinsPerNat : 0;
  now_.log_sensitivity += kLowest + at / kBinsPerNat;
  ++now_.n;
  ++lately_[side][static_cast<std::size_t>(std::min(at, static_cast<float>(kBins - 1)))];
}

void Price::advance(std::size_t read_from) {
  const std::size_t period = read_from / kPeriod;
  if (period == period_) return;
  const bool truncated = period < period_;
  period_ = period;
  if (truncated) {  // the price is kept, but not how it was changing
    now_ = before_ = {};
    return;
  }
  if (counted_ > 0) solve();
  begin_period();
}

void Price::begin_period() {
  const double memory = std::max(1.0, kMemory * static_cast<double>(period_));  // periods
  for (auto& side : lately_) {
    for (float& bin : side) bin *= static_cast<float>(1 - 1 / memory);
  }
  before_ = std::exchange(now_, {});
}

/// How much higher the mean of ln sensitivity is expected to be than it was in the last period: it goes on as
/// it went, per ln of the position, but no faster than by the position itself, as what each token receives
/// does when attention is spread evenly.
float Price::drift() const {
  if (now_.n == 0 || before_.n == 0) return 0;
  const auto at = static_cast<double>(period_);
  const double next = std::log((at + 0.5) / (at - 0.5));
  const double last = std::log((at - 0.5) / (at - 1.5));
  const double change = now_.log_sensitivity / now_.n - before_.log_sensitivity / before_.n;
  return static_cast<float>(std::clamp(change / last, -1.0, 1.0) * next);
}

float Price::target() const {
  const double surplus = spent_ - budget_ * counted_;
  const double horizon = std::max(vectors_per_period_, kCorrection * counted_);
  const auto correction = static_cast<float>(surplus / horizon);
  return budget_ - std::clamp(correction, -kMostCorrection * budget_, kMostCorrection * budget_);
}

/// Mean stored bits that the vectors of the histogram would take. Those of a bin lie evenly in it, so that
/// the sum is continuous in the price.
double Price::forecast(float log_price) const {
  double sum = 0;
  double n = 0;
  for (std::size_t side = 0; side < 2; ++side) {
    const auto steps = steps_[side].steps();
    for (std::size_t bin = 0; bin < kBins; ++bin) {
      const double vectors = lately_[side][bin];
      if (vectors == 0) continue;
      const float low = kLowest + static_cast<float>(bin) / kBinsPerNat - log_price;
      double bits = steps[0].bits;
      for (std::size_t i = 1; i < steps.size(); ++i) {
        const float above = std::clamp(1 - (steps[i].from - low) * kBinsPerNat, 0.0F, 1.0F);
        bits += above * (steps[i].bits - steps[i - 1].bits);
      }
      sum += vectors * bits;
      n += vectors;
    }
  }
  return sum / n;
}

void Price::solve() {
  constexpr int kHalvings = 24;  // of 160 nats: to 1e-5
  const float wanted = target();
  float low = kLowest - 40;
  float high = kLowest + static_cast<float>(kBins) / kBinsPerNat + 40;
  for (int i = 0; i < kHalvings; ++i) {
    const float middle = (low + high) / 2;
    (forecast(middle) > wanted ? low : high) = middle;
  }
  log_price_ = high + drift();
}

/// f(number) for all that changes but the price, the period and the histogram.
template <typename Self, typename F>
void Price::for_each_number(Self& self, F&& f) {
  f(self.spent_);
  f(self.counted_);
  for (auto* const period : {&self.now_, &self.before_}) {
    f(period->log_sensitivity);
    f(period->n);
  }
}

void Price::save(ByteWriter& out) const {
  out.put(static_cast<std::uint8_t>(log_price_ ? 1 : 0));
  out.put(log_price_.value_or(0));
  out.put(static_cast<std::uint64_t>(period_));
  for_each_number(*this, [&](double number) { out.put(number); });
  for (const auto& side : lately_) out.put_all(std::span(side));
}

void Price::load(ByteReader& in) {
  const bool known = in.get_within<std::uint8_t>("price of a bit is known", 0, 1) != 0;
  const auto log_price = in.get<float>("price of a bit");
  log_price_ = known ? std::optional(log_price) : std::nullopt;
  period_ = in.get<std::uint64_t>("period of the price");
  bool finite = std::isfinite(log_price);
  for_each_number(*this, [&](double& number) {
    number = in.get<double>("state of the price");
    finite = finite && std::isfinite(number);
  });
  for (auto& side : lately_) {
    in.get_all("histogram of the price", std::span(side));
    finite = finite && std::all_of(side.begin(), side.end(), [](float x) { return std::isfinite(x); });
  }
  if (!finite) in.refuse("state of the price", "a number that is not finite", "finite ones");
}

std::optional<float> price_of(const Plan& plan, float budget) {
  const auto& bits = plan.price_bits;
  if (bits.empty()) return std::nullopt;
  if (bits.size() == 1) return plan.price_log[0];
  // Outside of the curve its last piece goes on.
  const auto above = std::upper_bound(bits.begin() + 1, bits.end() - 1, budget);
  const auto i = static_cast<std::size_t>(above - bits.begin());
  const float share = (budget - bits[i - 1]) / (bits[i] - bits[i - 1]);
  return plan.price_log[i - 1] + share * (plan.price_log[i] - plan.price_log[i - 1]);
}

}  // namespace miser::policy
