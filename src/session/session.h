#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kv/cache.h"
#include "model/forward.h"
#include "model/model.h"
#include "nn/thread_pool.h"
#include "policy/plans.h"
#include "policy/policy.h"
#include "policy/recorder.h"
#include "policy/signals.h"

namespace miser {

struct SessionOptions {
  std::string kv = "q8";    ///< policy, as policy::parse reads it
  std::size_t context = 0;  ///< 0: the model's
  std::size_t batch = 512;  ///< most tokens in one forward pass
  std::size_t kv_window = 32;
  std::size_t kv_block = 32;
  kv::ScaleRule kv_scales = kv::ScaleRule::kUnbiased;
  kv::Centres kv_centres;                      ///< empty: none; a policy with centres of its own uses those
  std::shared_ptr<const policy::Plans> plans;  ///< for policies that a plan makes; may be null
  bool record = false;                         ///< keep signals and widths of every token (Session::record)
  /// Makes the policy in place of `kv`, which is then not read. `history` outlives the policy.
  std::function<std::unique_ptr<policy::Policy>(const policy::SignalHistory& history)> make_policy;
};

/// One sequence: tokens in, logits out. Owns the cache and the policy.
class Session {
 public:
  using OnLogits = std::function<void(std::size_t, std::span<const float>)>;

  /// `model` and `pool` outlive it. Throws UsageError for an unknown policy or an impossible option.
  Session(const Model& model, nn::ThreadPool& pool, SessionOptions options);

  /// Appends tokens and returns the logits [n_vocab] after the last, valid until the next call.
  /// Throws Error when they do not fit into the context. REQUIRES: not empty.
  std::span<const float> feed(std::span<const std::int32_t> tokens);
  /// The same, with logits of every token handed out in order, chunk by chunk: on_logits(first index in
  /// `tokens`, logits [n, n_vocab]).
  void feed_all(std::span<const std::int32_t> tokens, const OnLogits& on_logits);
  /// Forgets everything.
  void clear();
  /// Becomes a copy of what `other` was fed, to go on from a shared beginning. REQUIRES: the same model and
  /// options.
  void copy_tokens(const Session& other);

  std::size_t size() const { return cache_.size(); }
  std::size_t context() const { return cache_.config().context; }
  const std::vector<std::int32_t>& tokens() const { return tokens_; }
  const kv::Cache& cache() const { return cache_; }
  const policy::Policy& policy() const { return *policy_; }
  /// Received attention, norms and widths by position; null unless SessionOptions::record.
  const policy::Recorder* record() const { return recorder_.get(); }
  /// The paper's signals by position; empty unless the policy wants them or SessionOptions::record.
  const policy::SignalHistory& signals() const { return history_; }

 private:
  bool wants_token_signals() const { return options_.record || policy_->wants_token_signals(); }
  void feed_chunks(std::span<const std::int32_t> tokens, LogitsOf logits, const OnLogits& on_logits);
  std::size_t next_chunk(std::size_t remaining) const;
  std::span<const float> forward(std::span<const std::int32_t> chunk, LogitsOf logits);

  SessionOptions options_;
  policy::SignalHistory history_;
  policy::RarityCounter rarity_;
  std::unique_ptr<policy::Policy> policy_;
  kv::Cache cache_;
  std::unique_ptr<policy::Recorder> recorder_;
  Forward forward_;
  std::vector<std::int32_t> tokens_;
};

}  // namespace miser
