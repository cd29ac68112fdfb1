#include "eval/statistics.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>
#include <random>

namespace miser::eval {
namespace {

/// Continued fraction of the incomplete beta function by Lentz's method (DLMF 8.17.22). Converges fast for
/// x < (a + 1) / (a + b + 2).
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300;
  constexpr int kMaxTerms = 100000;  // about sqrt(max(a, b)) are needed
  const auto away_from_zero = [](double v) { return std::abs(v) < kTiny ? kTiny : v; };
  double c = 1;
  double d = 1 / away_from_zero(1 - (a + b) * x / (a + 1));
  double fraction = d;
  const auto step = [&](double numerator) {
    d = 1 / away_from_zero(1 + numerator * d);
    c = away_from_zero(1 + numerator / c);
    fraction *= c * d;
  };
  for (int m = 1; m < kMaxTerms; ++m) {
    step(m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)));
    step(-(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)));
    if (std::abs(c * d - 1) < 1e-15) break;
  }
  return fraction;
}

/// Regularised incomplete beta function I_x(a, b), a and b > 0.
double incomplete_beta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double log_front =
      std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x);
  if (x < (a + 1) / (a + b + 2)) return std::exp(log_front) * beta_fraction(a, b, x) / a;
  return 1 - std::exp(log_front) * beta_fraction(b, a, 1 - x) / b;
}

/// x with I_x(a, b) = p, by bisection down to neighbouring doubles.
double inverse_incomplete_beta(double a, double b, double p) {
  double low = 0;
  double high = 1;
  for (double middle = 0.5; low < middle && middle < high; middle = low + (high - low) / 2) {
    (incomplete_beta(a, b, middle) < p ? low : high) = middle;
  }
  return low;
}

/// Mean over all items of as many documents, drawn with replacement.
double resampled_mean(std::span<const double> sums, std::span<const double> weights,
                      std::mt19937_64& random) {
  double sum = 0;
  double weight = 0;
  while (weight == 0) {  // a draw of documents without items says nothing
    for (std::size_t i = 0; i < sums.size(); ++i) {
      // Not uniform_int_distribution, which differs between libraries; the bias is n / 2^64.
      const std::size_t document = random() % sums.size();
      sum += sums[document];
      weight += weights[document];
    }
  }
  return sum / weight;
}

}  // namespace

Interval bootstrap_mean(std::span<const double> sums, std::span<const double> weights,
                        const BootstrapOptions& options) {
  assert(sums.size() == weights.size() && std::accumulate(weights.begin(), weights.end(), 0.0) > 0);
  std::mt19937_64 random(options.seed);
  std::vector<double> means(options.resamples);
  for (double& mean : means) mean = resampled_mean(sums, weights, random);
  const double tail = (1 - options.level) / 2;
  return {quantile(means, tail), quantile(means, 1 - tail)};
}

Interval bootstrap_exp_mean(std::span<const double> sums, std::span<const double> weights,
                            const BootstrapOptions& options) {
  const Interval of_mean = bootstrap_mean(sums, weights, options);  // exp keeps the order
  return {std::exp(of_mean.low), std::exp(of_mean.high)};
}

Interval bootstrap(std::size_t n, const std::function<double(std::span<const std::size_t>)>& statistic,
                   const BootstrapOptions& options) {
  assert(n > 0);
  std::mt19937_64 random(options.seed);
  std::vector<std::size_t> draw(n);
  std::vector<double> values(options.resamples);
  for (double& value : values) {
    for (std::size_t& document : draw) document = random() % n;
    value = statistic(draw);
  }
  const double tail = (1 - options.level) / 2;
  return {quantile(values, tail), quantile(values, 1 - tail)};
}

Interval binomial_interval(std::size_t successes, std::size_t n, double level) {
  assert(successes <= n && n > 0);
  const auto k = static_cast<double>(successes);
  const auto rest = static_cast<double>(n - successes);
  const double tail = (1 - level) / 2;
  return {successes == 0 ? 0 : inverse_incomplete_beta(k, rest + 1, tail),
          successes == n ? 1 : inverse_incomplete_beta(k + 1, rest, 1 - tail)};
}

double mcnemar_p(std::size_t only_a, std::size_t only_b) {
  if (only_a == only_b) return 1;
  const auto fewer = static_cast<double>(std::min(only_a, only_b));
  const auto more = static_cast<double>(std::max(only_a, only_b));
  // P(X <= fewer) of a fair coin is I_{1/2}(n - fewer, fewer + 1).
  return std::min(1.0, 2 * incomplete_beta(more, fewer + 1, 0.5));
}

double quantile(std::vector<double> values, double q) {
  assert(!values.empty() && q >= 0 && q <= 1);
  const double at = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::ptrdiff_t>(at);
  const auto low = values.begin() + below;
  std::nth_element(values.begin(), low, values.end());
  const double fraction = at - static_cast<double>(below);
  if (fraction == 0) return *low;
  const double next = *std::min_element(low + 1, values.end());
  return *low + fraction * (next - *low);
}

}  // namespace miser::eval
