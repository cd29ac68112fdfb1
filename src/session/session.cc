#include "session/session.h"

#include <algorithm>

#include "base/error.h"

namespace miser {
namespace {

kv::CacheConfig cache_config(const ModelConfig& model, const SessionOptions& options) {
  kv::CacheConfig config;
  config.n_layers = model.n_layers;
  config.n_kv_heads = model.n_kv_heads;
  config.n_heads = model.n_heads;
  config.head_dim = model.head_dim;
  config.context = options.context == 0 ? model.context : options.context;
  config.window = options.kv_window;
  config.block = options.kv_block;
  config.scales = options.kv_scales;
  return config;
}

std::unique_ptr<policy::Policy> make_policy(const SessionOptions& options,
                                            const policy::SignalHistory& history) {
  return options.make_policy ? options.make_policy(history)
                             : policy::parse(options.kv, history, options.plans.get());
}

kv::Centres centres(const SessionOptions& options, const policy::Policy& policy) {
  kv::Centres own = policy.centres();
  return own.k.empty() ? options.kv_centres : std::move(own);
}

}  // namespace

Session::Session(const Model& model, nn::ThreadPool& pool, SessionOptions options)
    : options_(std::move(options)),
      policy_(make_policy(options_, history_)),
      cache_(cache_config(model.config(), options_), centres(options_, *policy_)),
      forward_(model, cache_, pool) {
  if (options_.batch == 0) fail_usage("--batch-size: found 0, expected at least 1");
  if (options_.record) recorder_ = std::make_unique<policy::Recorder>(*policy_, model.config().n_layers);
  forward_.track_attention_variance(wants_token_signals());
}

std::span<const float> Session::feed(std::span<const std::int32_t> tokens) {
  std::span<const float> logits;
  feed_chunks(tokens, LogitsOf::kNone, [&](std::size_t, std::span<const float> chunk) { logits = chunk; });
  return logits.last(forward_.n_vocab());
}

void Session::feed_all(std::span<const std::int32_t> tokens, const OnLogits& on_logits) {
  feed_chunks(tokens, LogitsOf::kAll, on_logits);
}

void Session::feed_chunks(std::span<const std::int32_t> tokens, LogitsOf logits, const OnLogits& on_logits) {
  if (tokens.size() > context() - size()) {
    fail("{} tokens do not fit into the context of {} that holds {} already", tokens.size(), context(),
         size());
  }
  for (std::size_t done = 0; done < tokens.size();) {
    const std::size_t n = next_chunk(tokens.size() - done);
    const bool last = done + n == tokens.size();
    const LogitsOf wanted = wants_token_signals()               ? LogitsOf::kAll
                            : logits == LogitsOf::kNone && last ? LogitsOf::kLast
                                                                : logits;
    on_logits(done, forward(tokens.subspan(done, n), wanted));
    done += n;
  }
}

std::size_t Session::next_chunk(std::size_t remaining) const {
  std::size_t limit = options_.batch;
  // A block's signals must be there before it leaves, so no chunk may reach past the end of a block.
  if (wants_token_signals()) limit = std::min(limit, options_.kv_block - size() % options_.kv_block);
  if (const std::size_t period = policy_->decision_period(); period != 0)
    limit = std::min(limit, period - size() % period);
  return std::min(limit, remaining);
}

std::span<const float> Session::forward(std::span<const std::int32_t> chunk, LogitsOf logits) {
  kv::WidthChooser& chooser = recorder_ ? static_cast<kv::WidthChooser&>(*recorder_) : *policy_;
  const auto result = forward_.run(chunk, chooser, logits);
  tokens_.insert(tokens_.end(), chunk.begin(), chunk.end());
  if (!wants_token_signals()) return result;
  for (std::size_t i = 0; i < chunk.size(); ++i) {
    const auto of_token = policy::logit_signals(result.subspan(i * forward_.n_vocab(), forward_.n_vocab()));
    history_.push_back({chunk[i], of_token.entropy, rarity_.observe(chunk[i]),
                        forward_.attention_variance()[i], of_token.confidence});
  }
  return result;
}

void Session::clear() {
  cache_.clear();
  policy_->clear();
  history_.clear();
  rarity_ = {};
  if (recorder_) recorder_->clear();
  tokens_.clear();
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
