#include "session/session.h"

#include <algorithm>

#include "base/error.h"

namespace miser {
namespace {

kv::CacheConfig cache_config(const ModelConfig& model, const SessionOptions& options,
                             const policy::Policy& policy) {
  kv::CacheConfig config;
  config.n_layers = model.n_layers;
  config.n_kv_heads = model.n_kv_heads;
  config.n_heads = model.n_heads;
  config.head_dim = model.head_dim;
  config.context = options.context == 0 ? model.context : options.context;
  config.window = options.kv_window;
  config.block = options.kv_block;
  config.scales = options.kv_scales;
  config.memory = options.kv_memory;
  config.drop_oldest = options.kv_drop_oldest;
  config.shift = options.context_shift;
  config.widest = policy.widest();
  return config;
}

std::unique_ptr<policy::Policy> make_policy(const SessionOptions& options,
                                            const policy::SignalHistory& history) {
  return options.make_policy ? options.make_policy(history)
                             : policy::parse(options.kv, history, options.plans.get());
}

kv::Centres centres(const SessionOptions& options, const policy::Policy& policy) {
  kv::Centres own = policy.centres();
  if (own.k.empty()) return options.kv_centres;
  return own;
}

}  // namespace

Session::Session(const Model& model, nn::ThreadPool& pool, SessionOptions options)
    : options_(std::move(options)),
      model_(model),
      policy_(make_policy(options_, history_)),
      cache_(cache_config(model.config(), options_, *policy_), centres(options_, *policy_)),
      chooser_(policy_.get()),
      pool_(pool),
      attention_(cache_, pool),
      attention_beside_(cache_, one_thread_),
      forward_(model, pool) {
  if (options_.batch == 0) fail_usage("--batch-size: found 0, expected at least 1");
  if (options_.record && options_.context_shift) fail_usage("context shift: keeps no records of its tokens");
  if (options_.kv_memory > 0) {
    rated_ = std::make_unique<policy::Rated>(*policy_);
    chooser_ = rated_.get();
  }
  if (options_.record) {
    recorder_ = std::make_unique<policy::Recorder>(*chooser_, model.config().n_layers);
    chooser_ = recorder_.get();
  }
}

/// The next tokens of a sequence: [done, done + n) of what it is fed.
struct Session::Chunk {
  const Feed* feed;
  std::size_t done = 0;
  std::size_t n = 0;

  std::size_t left() const { return feed->tokens.size() - done; }
  /// Tokens at its end whose logits the caller wants.
  std::size_t n_wanted() const {
    const std::size_t first_wanted = feed->tokens.size() - feed->n_logits;
    return std::min(n, done + n - std::min(done + n, first_wanted));
  }
};

std::span<const float> Session::feed(std::span<const std::int32_t> tokens) {
  std::span<const float> logits;
  const Feed feed{this, tokens, 1, [&](std::size_t, std::span<const float> last) { logits = last; }};
  feed_chunks({&feed, 1}, 1);
  return logits;
}

void Session::feed_all(std::span<const std::int32_t> tokens, const OnLogits& on_logits) {
  const Feed feed{this, tokens, tokens.size(), on_logits};
  feed_chunks({&feed, 1}, 1);
}

void Session::feed_together(std::span<const Feed> feeds) {
  feed_chunks(feeds, nn::kManyRows);
}

void Session::feed_chunks(std::span<const Feed> feeds, std::size_t min_rows) {
  std::vector<Chunk> waiting;
  for (const Feed& feed : feeds) {
    const Session& s = *feed.session;
    if (!s.shifts() && feed.tokens.size() > s.capacity() - s.size()) {
      fail("{} tokens do not fit into the {} of {} tokens that holds {} already", feed.tokens.size(),
           s.capacity() < s.context() ? "KV memory" : "context", s.capacity(), s.size());
    }
    if (!feed.tokens.empty()) waiting.push_back({&feed});
  }
  while (!waiting.empty()) {
    Session& first = *waiting.front().feed->session;
    std::vector<SequencePart> parts = fill_pass(waiting, first.options_.batch);
    // All passes in the activations of one session, so that the others need none.
    feeds.front().session->forward_.run(parts, min_rows);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const Chunk& chunk = waiting[i];
      chunk.feed->session->take_in(parts[i]);
      const std::size_t n = chunk.n_wanted();
      if (n == 0) continue;
      const std::size_t n_vocab = first.forward_.n_vocab();
      chunk.feed->on_logits(chunk.done + chunk.n - n, parts[i].logits.last(n * n_vocab));
    }
    for (std::size_t i = 0; i < parts.size(); ++i) waiting[i].done += waiting[i].n;
    std::erase_if(waiting, [](const Chunk& chunk) { return chunk.left() == 0; });
  }
}

/// Parts of the first of those that wait. Chunks are those that a sequence would have alone: where it is cut
/// decides what its cache allocates.
std::vector<SequencePart> Session::fill_pass(std::span<Chunk> waiting, std::size_t batch) {
  std::size_t n_parts = 0;
  std::size_t n_rows = 0;
  for (; n_parts < waiting.size(); ++n_parts) {
    Chunk& chunk = waiting[n_parts];
    chunk.n = chunk.feed->session->next_chunk(chunk.left());
    n_rows += chunk.n;
    if (n_parts > 0 && n_rows > batch) break;
  }
  std::vector<SequencePart> parts;
  for (const Chunk& chunk : waiting.first(n_parts)) {
    parts.push_back(chunk.feed->session->part(chunk));
    if (n_parts == 1) parts.back().attention = &chunk.feed->session->attention_;
  }
  return parts;
}

SequencePart Session::part(const Chunk& chunk) {
  SequencePart part;
  part.tokens = chunk.feed->tokens.subspan(chunk.done, chunk.n);
  part.cache = &cache_;
  part.attention = &attention_beside_;
  part.chooser = chooser_;
  part.n_logits = wants_token_signals() ? chunk.n : chunk.n_wanted();
  part.wants_variance = wants_token_signals();
  return part;
}

std::size_t Session::next_chunk(std::size_t remaining) {
  if (size() == capacity()) shift();
  std::size_t limit = std::min(options_.batch, capacity() - size());
  // A block's signals must be there before it leaves, so no chunk may reach past the end of a block.
  if (wants_token_signals()) limit = std::min(limit, options_.kv_block - size() % options_.kv_block);
  if (const std::size_t period = policy_->decision_period(); period != 0)
    limit = std::min(limit, period - size() % period);
  return cache_.admit(std::min(limit, remaining), pool_);
}

void Session::shift() {
  const std::size_t n = cache_.shift(model_.rope_frequencies(), pool_);
  const auto take_away = [&](auto& of_positions) {
    if (of_positions.empty()) return;
    const auto first = of_positions.begin() + static_cast<std::ptrdiff_t>(cache_.config().sinks);
    of_positions.erase(first, first + static_cast<std::ptrdiff_t>(n));
  };
  take_away(tokens_);
  take_away(history_);
  policy_->renumber(n);
}

/// Keeps what a pass has shown of its tokens.
void Session::take_in(const SequencePart& part) {
  tokens_.insert(tokens_.end(), part.tokens.begin(), part.tokens.end());
  if (!wants_token_signals()) return;
  const std::size_t n_vocab = forward_.n_vocab();
  std::vector<policy::LogitSignals> signals(part.tokens.size());
  pool_.parallel_for(signals.size(), [&](std::size_t i, int) {
    signals[i] = policy::logit_signals(part.logits.subspan(i * n_vocab, n_vocab));
  });
  for (std::size_t i = 0; i < signals.size(); ++i) {
    history_.push_back({part.tokens[i], signals[i].entropy, rarity_.observe(part.tokens[i]), part.variance[i],
                        signals[i].confidence});
  }
}

void Session::clear() {
  cache_.clear();
  policy_->clear();
  history_.clear();
  rarity_ = {};
  if (recorder_) recorder_->clear();
  tokens_.clear();
}

void Session::truncate(std::size_t n) {
  if (n >= size()) return;
  if (n == 0) return clear();
  cache_.truncate(n);
  tokens_.resize(n);
  if (recorder_) recorder_->truncate(cache_.layer(0).staged_begin);
  if (!wants_token_signals()) return;
  history_.resize(n);
  rarity_ = {};
  for (const std::int32_t token : tokens_) rarity_.observe(token);
}

void Session::copy_tokens(const Session& other) {
  cache_.copy_tokens(other.cache_);
  policy_->copy_state(*other.policy_);
  history_ = other.history_;
  rarity_ = other.rarity_;
  if (recorder_) recorder_->copy_tokens(*other.recorder_);
  tokens_ = other.tokens_;
}

}  // namespace miser
