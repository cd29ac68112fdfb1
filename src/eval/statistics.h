#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace miser::eval {

struct Interval {
  double low = 0;
  double high = 0;
};

struct BootstrapOptions {
  std::size_t resamples = 2000;
  double level = 0.95;
  std::uint64_t seed = 1;  ///< the same seed draws the same documents for every arm, so arms stay paired
};

/// Block bootstrap over documents (Efron 1979, percentile interval) of a mean over items: document i holds
/// weights[i] items that sum to sums[i]; the statistic is the sum of sums over the sum of weights. Pass
/// differences of two arms as sums for a paired comparison. REQUIRES: equal sizes, positive total weight.
Interval bootstrap_mean(std::span<const double> sums, std::span<const double> weights,
                        const BootstrapOptions& options = {});

/// The same for exp(mean), e.g. perplexity from summed negative log-likelihoods, or its ratio from
/// differences.
Interval bootstrap_exp_mean(std::span<const double> sums, std::span<const double> weights,
                            const BootstrapOptions& options = {});

/// The same for any statistic of a draw: statistic(indices of `n` documents drawn with replacement from `n`).
/// The same draws as above. REQUIRES: n > 0.
Interval bootstrap(std::size_t n, const std::function<double(std::span<const std::size_t>)>& statistic,
                   const BootstrapOptions& options = {});

/// Exact binomial interval (Clopper & Pearson 1934) of a share. REQUIRES: successes <= n, n > 0.
Interval binomial_interval(std::size_t successes, std::size_t n, double level = 0.95);

/// Exact two-sided McNemar p-value: `only_a` items are right under arm a alone, `only_b` under b alone.
double mcnemar_p(std::size_t only_a, std::size_t only_b);

/// Quantile of values by linear interpolation (NumPy's default). REQUIRES: not empty, 0 <= q <= 1.
double quantile(std::vector<double> values, double q);

}  // namespace miser::eval
