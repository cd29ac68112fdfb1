#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "kv/cache.h"
#include "kv/codec.h"
#include "policy/plans.h"
#include "policy/policy.h"
#include "policy/signals.h"

namespace miser {

struct SessionOptions {
  std::string kv = "q8";    ///< policy, as policy::parse reads it
  std::size_t context = 0;  ///< 0: the model's
  std::size_t batch = 512;  ///< most tokens in one forward pass
  std::size_t kv_window = 32;
  std::size_t kv_block = 32;
  kv::ScaleRule kv_scales = kv::ScaleRule::kUnbiased;
  std::size_t kv_memory = 0;  ///< most bytes that the cache ever allocates; 0: no limit
  /// When no vector can be made narrower any more: go on without the oldest tokens behind the sinks.
  bool kv_drop_oldest = false;
  bool context_shift = false;  ///< when it is full: go on without the older half (kv::Cache::shift())
  kv::Centres kv_centres;      ///< empty: none; a policy with centres of its own uses those
  std::shared_ptr<const policy::Plans> plans;  ///< for policies that a plan makes; may be null
  bool record = false;                         ///< keep signals and widths of every token (Session::record)
  /// Makes the policy in place of `kv`, which is then not read. `history` outlives the policy.
  std::function<std::unique_ptr<policy::Policy>(const policy::SignalHistory& history)> make_policy;
};

}  // namespace miser
