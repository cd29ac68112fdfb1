#include "learn/trace.h"

#include <algorithm>

#include "base/error.h"
#include "learn/backward.h"
#include "learn/context_pass.h"
#include "learn/score.h"
#include "learn/trace_steps.h"
#include "nn/ops.h"

namespace miser::learn {
namespace {

kv::CacheConfig cache_config(const ModelConfig& model, std::size_t length, const TraceOptions& options) {
  kv::CacheConfig config;
  config.n_layers = model.n_layers;
  config.n_kv_heads = model.n_kv_heads;
  config.n_heads = model.n_heads;
  config.head_dim = model.head_dim;
  config.context = length;
  config.window = options.window;
  config.block = options.block;
  config.sinks = options.sinks;
  return config;
}

/// Keeps what the cache shows of its tokens; all stay at 16 bits.
class Recorder final : public kv::WidthChooser, public RowSink {
 public:
  explicit Recorder(Trace& trace) : t_(trace) {}

  bool wants_received() const override { return true; }
  void choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) override {
    std::fill(widths.k.begin(), widths.k.end(), kv::Width::k16);
    std::fill(widths.v.begin(), widths.v.end(), kv::Width::k16);
    const std::size_t token = block.layer * t_.n + block.first_position - t_.first;
    std::ranges::copy(block.received, t_.received.begin() + token * t_.n_heads);
    std::ranges::copy(block.received_sq, t_.received_sq.begin() + token * t_.n_kv_heads);
    std::ranges::copy(block.received_max, t_.received_max.begin() + token * t_.n_kv_heads);
  }

  void add(std::size_t layer, std::span<const float> k, std::span<const float> v) override {
    const std::size_t row = t_.n_kv_heads * t_.head_dim;
    const auto store = [&](std::span<const float> from, std::vector<std::uint16_t>& to) {
      nn::f32_to_f16(from.subspan(t_.first * row, t_.n * row),
                     std::span(to).subspan(layer * t_.n * row, t_.n * row));
    };
    store(k, t_.k);
    store(v, t_.v);
  }

 private:
  Trace& t_;
};

/// Sizes and arrays of the trace of `ids`, not measured yet.
Trace begin_trace(const ModelConfig& model, std::span<const std::int32_t> ids, const TraceOptions& o) {
  const PositionRule rule{o.window, o.block};
  const std::size_t end = ids.empty() ? 0 : rule.exact_begin(ids.size() - 1);
  if (end <= o.sinks)
    fail("a context of {} tokens: expected at least {}, for a query to read a token packed", ids.size(),
         least_context(o));
  for (const std::int32_t id : ids) {
    if (id < 0 || static_cast<std::size_t>(id) >= model.n_vocab)
      fail("token id: found {}, expected 0 to {}", id, model.n_vocab - 1);
  }
  Trace t;
  t.n_layers = model.n_layers;
  t.n_heads = model.n_heads;
  t.n_kv_heads = model.n_kv_heads;
  t.head_dim = model.head_dim;
  t.length = ids.size();
  t.first = o.sinks;
  t.n = end - o.sinks;
  t.window = o.window;
  t.block = o.block;
  t.n_samples = o.n_samples;
  t.seed = o.seed;
  t.ids.assign(ids.begin(), ids.end());
  const std::size_t rows = t.n_layers * t.n;
  t.received.resize(rows * t.n_heads);
  t.received_sq.resize(rows * t.n_kv_heads);
  t.received_max.resize(rows * t.n_kv_heads);
  t.k.resize(rows * t.n_kv_heads * t.head_dim);
  t.v.resize(rows * t.n_kv_heads * t.head_dim);
  for (std::size_t i = t.first; i < end; ++i)
    t.future.push_back(static_cast<float>(rule.future(i, ids.size())));
  return t;
}

void add_token_signals(Trace& t, std::span<const policy::LogitSignals> logits,
                       std::span<const float> variance) {
  policy::RarityCounter rarity;
  for (std::size_t i = 0; i < t.first + t.n; ++i) {
    const float of_token = rarity.observe(t.ids[i]);
    if (i < t.first) continue;
    t.token_signals.insert(t.token_signals.end(),
                           {logits[i].entropy, of_token, variance[i], logits[i].confidence});
  }
}

}  // namespace

std::size_t least_context(const TraceOptions& options) {
  return options.sinks / options.block * options.block + options.block + options.window + 1;
}

Trace trace_context(const Model& model, nn::ThreadPool& pool, std::span<const std::int32_t> ids,
                    const TraceOptions& options) {
  return trace_draws(model, pool, ids, options, draw_from_model(options.seed));
}

Trace trace_draws(const Model& model, nn::ThreadPool& pool, std::span<const std::int32_t> ids,
                  const TraceOptions& options, const Draw& draw) {
  Trace t = begin_trace(model.config(), ids, options);
  Recorder recorder(t);
  Activations activations =
      read_context(model, pool, ids, cache_config(model.config(), ids.size(), options), recorder, recorder);
  Score score = score_gradient(model, pool, activations.x.back(), options.n_samples, draw);
  add_token_signals(t, score.signals, activations.variance);
  t.fisher = fisher_information(model, pool, std::move(activations), std::move(score.gradient),
                                {options.window, options.block}, {t.first, t.n});
  return t;
}

}  // namespace miser::learn
