#pragma once
#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/frontier_state.h"

namespace miser::eval {

/// Sums over the scored tokens of one context; of all seeds, where an arm has several.
struct FrontierSums {
  double n = 0;
  double kl = 0;        ///< nats
  double top = 0;       ///< tokens whose likeliest next token is f16's
  double nll = 0;       ///< negative log-likelihood, nats
  double more_nll = 0;  ///< the same above f16's

  FrontierSums& operator+=(const FrontierSums& other);
};

/// An arm over the contexts of one text that it ran.
struct FrontierGroup {
  FrontierArm arm;
  std::map<std::size_t, FrontierSums> by_context;
  std::vector<double> kl;  ///< of every token and seed
  double stored_bits = 0;  ///< mean per element of packed vectors: codes, scales, tags
  double cache_bits = 0;   ///< mean per element of the whole cache, as allocated
  double bytes = 0;        ///< mean of a cache
  double compressed = 0;   ///< mean share of vectors below 16 bits

  /// Mean KL over some of its contexts, repetitions counted. REQUIRES: it ran them.
  double mean_kl(std::span<const std::size_t> contexts) const;
  double mean_kl() const;
};

/// The arms of the state that ran any of the contexts [first, end), in the order of frontier_arms().
std::vector<FrontierGroup> frontier_groups(const FrontierState& state, std::size_t first, std::size_t end);

/// A point between two arms, log-linear in KL and linear in bits: (1 - share) of one and share of the other.
struct FrontierMix {
  const FrontierGroup* low = nullptr;
  const FrontierGroup* high = nullptr;
  double share = 0;

  double mean_kl(std::span<const std::size_t> contexts) const;
};

/// The mix of two of `groups` with the least KL at `bits`: a point on their lower convex hull in (bits, ln
/// KL). Empty when no group has as few bits; beyond the most bits, the group with the least KL.
std::optional<FrontierMix> best_mix(const std::vector<const FrontierGroup*>& groups, double bits);

/// Bits at which the curve through `groups`, ordered by bits, has the KL `kl`. Empty outside of it.
std::optional<double> bits_at(const std::vector<const FrontierGroup*>& groups, double kl);

}  // namespace miser::eval
