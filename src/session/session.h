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
#include "policy/policy.h"
#include "policy/rated.h"
#include "policy/recorder.h"
#include "policy/signals.h"
#include "session/session_options.h"

namespace miser {

/// One sequence: tokens in, logits out. Owns the cache and the policy.
class Session {
 public:
  using OnLogits = std::function<void(std::size_t, std::span<const float>)>;

  /// `model` and `pool` outlive it. Throws UsageError for an unknown policy or an impossible option.
  Session(const Model& model, nn::ThreadPool& pool, SessionOptions options);

  /// Appends tokens and returns the logits [n_vocab] after the last, valid until the next call.
  /// Throws Error when they do not fit into the capacity, unless the context shifts. REQUIRES: not empty.
  std::span<const float> feed(std::span<const std::int32_t> tokens);
  /// The same, with logits of every token handed out in order, chunk by chunk: on_logits(first index in
  /// `tokens`, logits [n, n_vocab]).
  void feed_all(std::span<const std::int32_t> tokens, const OnLogits& on_logits);

  /// What one of several sessions is fed.
  struct Feed {
    Session* session;
    std::span<const std::int32_t> tokens;
    std::size_t n_logits = 0;  ///< logits are wanted of so many of the last tokens
    OnLogits on_logits{};      ///< gets them as in feed_all; not called when none are wanted
  };
  /// Feeds several sessions in common passes of at most the first one's batch, which cost less than one after
  /// the other. What a session computes does not depend on its company, but differs by float rounding from
  /// what feed() makes of fewer than nn::kManyRows tokens.
  /// Throws Error when tokens do not fit into a capacity. REQUIRES: different sessions of one model and pool.
  static void feed_together(std::span<const Feed> feeds);

  /// Forgets everything.
  void clear();
  /// Forgets the tokens from position `n` on (kv::Cache::truncate()); nothing where there are none. A policy
  /// keeps what it has learnt of their text.
  void truncate(std::size_t n);
  /// Writes all that it takes to go on as if it had never stopped (docs/snapshot.md), and the logits after
  /// the last token, [n_vocab] or none. The file appears when it is complete. Throws Error that names it.
  /// REQUIRES: not empty, no SessionOptions::record.
  void save(const std::string& path, std::span<const float> logits) const;
  /// Forgets everything, goes on from such a file and returns its logits. Throws Error that names file,
  /// field, found and expected when it is damaged or was saved by a session of another model or other
  /// options; then the session is empty.
  std::vector<float> load(const std::string& path);

  /// Becomes a copy of what `other` was fed, to go on from a shared beginning. REQUIRES: the same model and
  /// options.
  void copy_tokens(const Session& other);

  /// Drops the older half of its tokens (kv::Cache::shift()), as feed() does itself where one more does not
  /// fit. REQUIRES: shifts(), size() == capacity().
  void shift();

  std::size_t size() const { return cache_.size(); }
  /// Tokens that it was fed and has not been told to forget.
  std::size_t n_read() const { return cache_.size() + cache_.shifted(); }
  bool shifts() const { return options_.context_shift; }
  std::size_t context() const { return cache_.config().context; }
  /// Most tokens that it can take: the context, or fewer where SessionOptions::kv_memory holds no more.
  std::size_t capacity() const { return cache_.capacity(); }
  /// By position; kv::Cache::shift() takes those away that it numbers anew.
  const std::vector<std::int32_t>& tokens() const { return tokens_; }
  const kv::Cache& cache() const { return cache_; }
  const policy::Policy& policy() const { return *policy_; }
  /// Received attention, norms and widths by position; null unless SessionOptions::record.
  const policy::Recorder* record() const { return recorder_.get(); }
  /// The paper's signals by position; empty unless the policy wants them or SessionOptions::record.
  const policy::SignalHistory& signals() const { return history_; }

 private:
  friend class SessionFile;
  struct Chunk;

  bool wants_token_signals() const { return options_.record || policy_->wants_token_signals(); }
  static void feed_chunks(std::span<const Feed> feeds, std::size_t min_rows);
  static std::vector<SequencePart> fill_pass(std::span<Chunk> waiting, std::size_t batch);
  std::size_t next_chunk(std::size_t remaining);
  SequencePart part(const Chunk& chunk);
  void take_in(const SequencePart& part);

  SessionOptions options_;
  const Model& model_;
  policy::SignalHistory history_;
  policy::RarityCounter rarity_;
  std::unique_ptr<policy::Policy> policy_;
  kv::Cache cache_;
  std::unique_ptr<policy::Rated> rated_;        ///< before the policy, where memory is limited
  std::unique_ptr<policy::Recorder> recorder_;  ///< before both
  kv::WidthChooser* chooser_;                   ///< the foremost of them
  nn::ThreadPool& pool_;
  nn::ThreadPool one_thread_{1};
  kv::Attention attention_;         ///< in passes of this sequence alone: threads share its heads
  kv::Attention attention_beside_;  ///< in passes with others: threads share the sequences
  Forward forward_;
  std::vector<std::int32_t> tokens_;
};

}  // namespace miser
