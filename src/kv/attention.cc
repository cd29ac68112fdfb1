#include "kv/attention.h"

#include <algorithm>
#include <cmath>

#include "nn/gemm.h"
#include "nn/ops.h"

namespace miser::kv {
namespace {

/// Most queries in a run: bounds the scores of a run against a long exact window.
constexpr std::size_t kMaxRun = 64;
/// Query rows multiplied with one tile at a time: their scores against 256 tokens take 256 KiB of L2.
constexpr std::size_t kRowBlock = 256;
/// Shares of the full segments that threads take, so that a few KV heads keep more threads busy. A function
/// of the text alone, so that results do not depend on the number of threads.
std::size_t part_count(std::size_t n_full_segments) {
  return std::clamp<std::size_t>(n_full_segments / 2, 1, 4);
}

}  // namespace

Attention::Attention(Cache& cache, nn::ThreadPool& pool)
    : cache_(cache),
      pool_(pool),
      split_(cache, pool),
      head_dim_(cache.config().head_dim),
      group_(cache.config().n_heads / cache.config().n_kv_heads),
      heads_(cache.config().n_kv_heads),
      workers_(static_cast<std::size_t>(pool.size())) {}

void Attention::forward(const AttentionChunk& chunk, WidthChooser& chooser) {
  chunk_ = chunk;
  if (chunk_.n * group_ <= SplitAttention::kMaxRows) return forward_few(chooser);
  begin(chooser);
  pool_.parallel_for(heads_.size(), [&](std::size_t g, int) { gather(g); });
  if (n_full_ > 0) attend_full_segments();

  const std::size_t end = start_ + chunk_.n;
  Run run{};
  for (std::size_t at = start_; at < end; at = run.end) {
    run = next_run(at);
    commit(run.exact_begin, chooser);
    pool_.parallel_for(heads_.size(), [&](std::size_t g, int worker) {
      attend_run(g, run, workers_[static_cast<std::size_t>(worker)]);
    });
  }

  layer().n_tokens = end;
  layer().reserve_exact(layer().exact_rows(), track_received_);
  pool_.parallel_for(heads_.size(), [&](std::size_t g, int) { store(g, run.exact_begin); });
  if (track_received_) store_received(run.exact_begin);
  if (chunk_.variance == nullptr) return;
  const float n_heads = static_cast<float>(cache_.config().n_heads);
  for (std::size_t i = 0; i < chunk_.n; ++i) {
    chunk_.variance[i] = 0;
    for (const Head& head : heads_) chunk_.variance[i] += head.variance[i] / n_heads;
  }
}

void Attention::begin(const WidthChooser& chooser) {
  start_ = layer().n_tokens;
  staged_begin_ = layer().staged_begin;
  n_full_ = staged_begin_ / Segment::kMaxTokens;
  track_received_ = chooser.wants_received();
  for (Head& head : heads_) {
    head.parts.resize(part_count(n_full_));
    head.variance.assign(chunk_.n, 0.0F);
  }
  if (track_received_) load_received(row(start_ + chunk_.n));
}

void Attention::load_received(std::size_t n_rows) {
  const std::size_t stride = received_stride(cache_.config());
  received_.assign(n_rows * stride, 0.0F);
  std::copy_n(layer().received.begin(), std::min(layer().received.size(), layer().exact_rows() * stride),
              received_.begin());
}

std::size_t Attention::row(std::size_t position) const {
  const std::size_t sinks = cache_.config().sinks;
  return position < sinks || staged_begin_ <= sinks ? position : position - staged_begin_ + sinks;
}

Attention::Run Attention::next_run(std::size_t begin) {
  const std::size_t due = cache_.exact_begin(begin);
  const std::size_t limit = std::min(start_ + chunk_.n, begin + kMaxRun);
  // The packed set grows next at the end of the first exact block plus the window.
  const std::size_t changes = due + cache_.config().block + cache_.config().window;
  // What was packed before a truncation stays so.
  return {begin, std::min(limit, changes), std::max(due, layer().staged_begin)};
}

void Attention::gather(std::size_t g) {
  load_exact(g);
  append_fresh(g);
  const std::size_t row_floats = group_ * head_dim_;
  heads_[g].queries.fill(chunk_.q + g * row_floats, chunk_.n, group_, heads_.size() * row_floats,
                         cache_.rotation(), cache_.key_side(chunk_.layer, g).centre, true);
  for (OnlineSoftmax& part : heads_[g].parts) {
    part.reset(chunk_.n * group_, head_dim_, chunk_.variance != nullptr);
  }
}

void Attention::load_exact(std::size_t g) {
  const std::size_t n = layer().exact_rows() * head_dim_;
  const std::size_t from = g * layer().exact_capacity * head_dim_;
  auto load = [&](const std::pmr::vector<std::uint16_t>& stored, std::vector<float>& rows) {
    rows.resize(n);
    nn::f16_to_f32(std::span(stored).subspan(from, n), rows);
  };
  load(layer().exact_k, heads_[g].k);
  load(layer().exact_v, heads_[g].v);
}

void Attention::append_fresh(std::size_t g) {
  const std::size_t stride = heads_.size() * head_dim_;
  std::vector<std::uint16_t> half(head_dim_);
  auto append = [&](const float* fresh, std::vector<float>& rows) {
    const std::size_t n_old = rows.size();
    rows.resize(n_old + chunk_.n * head_dim_);
    for (std::size_t i = 0; i < chunk_.n; ++i) {  // what is read is what is stored: binary16
      nn::f32_to_f16({fresh + i * stride + g * head_dim_, head_dim_}, half);
      nn::f16_to_f32(half, std::span(rows).subspan(n_old + i * head_dim_, head_dim_));
    }
  };
  append(chunk_.k, heads_[g].k);
  append(chunk_.v, heads_[g].v);
}

QueryRows Attention::queries(std::size_t g, Run run) const {
  return heads_[g].queries.rows().subspan(first_query_row(run), (run.end - run.begin) * group_, head_dim_);
}

void Attention::attend_full_segments() {
  const std::size_t n_parts = part_count(n_full_);
  const Run all{start_, start_ + chunk_.n, staged_begin_};
  pool_.parallel_for(heads_.size() * n_parts, [&](std::size_t item, int worker) {
    const std::size_t g = item / n_parts;
    const std::size_t part = item % n_parts;
    attend_segments(g, part * n_full_ / n_parts, (part + 1) * n_full_ / n_parts, all, heads_[g].parts[part],
                    workers_[static_cast<std::size_t>(worker)]);
  });
  pool_.parallel_for(heads_.size(), [&](std::size_t g, int) {
    for (std::size_t part = 1; part < n_parts; ++part) heads_[g].parts[0].merge(heads_[g].parts[part]);
  });
}

void Attention::attend_segments(std::size_t g, std::size_t first, std::size_t last, Run run,
                                OnlineSoftmax& state, Worker& worker) {
  const PackedHead& packed = layer().heads[g];
  const QueryRows rows = queries(g, run);
  const bool use_levels = LevelProducts::suit(head_dim_);
  bool has_queries = false;  // are rounded where a segment needs them
  for (std::size_t s = first; s < last; ++s) {
    if (packed.k[s].size() == 0) continue;
    packed.k[s].unpack(cache_.key_side(chunk_.layer, g), worker.keys);
    packed.v[s].unpack(cache_.value_side(chunk_.layer, g), worker.values);
    if (use_levels && worker.keys.rotated && worker.values.rotated) {
      if (!has_queries) worker.levels.set_queries(rows, head_dim_);
      has_queries = true;
      worker.levels.set_segment(worker.keys, worker.values);
      worker.levels.attend(state, first_query_row(run));
      continue;
    }
    for (std::size_t at = 0; at < rows.n; at += kRowBlock) {
      const std::size_t n = std::min(kRowBlock, rows.n - at);
      state.attend(rows.subspan(at, n, head_dim_), first_query_row(run) + at, worker.keys, worker.values,
                   worker.scores);
    }
  }
}

void Attention::attend_run(std::size_t g, Run run, Worker& worker) {
  attend_segments(g, n_full_, layer().heads[g].k.size(), run, heads_[g].parts[0], worker);
  attend_exact(g, run, worker);
  write_out(g, run);
}

void Attention::attend_exact(std::size_t g, Run run, Worker& worker) {
  Head& head = heads_[g];
  const QueryRows q = queries(g, run);
  const std::size_t first = first_query_row(run);
  // Columns of the scores, in order of position: the sinks that are apart, then [exact_begin, run.end).
  const std::size_t n_sinks = std::min(cache_.config().sinks, run.exact_begin);
  const std::size_t n_window = run.end - run.exact_begin;
  const std::size_t n_keys = n_sinks + n_window;
  const std::size_t window_row = row(run.exact_begin) * head_dim_;
  worker.scores.assign(q.n * n_keys, 0.0F);
  float* scores = worker.scores.data();
  nn::gemm_nt(q.n, n_sinks, head_dim_, 1.0F, q.plain, head_dim_, head.k.data(), head_dim_, 0.0F, scores,
              n_keys);
  nn::gemm_nt(q.n, n_window, head_dim_, 1.0F, q.plain, head_dim_, head.k.data() + window_row, head_dim_, 0.0F,
              scores + n_sinks, n_keys);
  for (std::size_t i = 0; i < q.n; ++i) {
    const std::size_t position = run.begin + i / group_;
    const std::size_t visible = n_sinks + position - run.exact_begin + 1;  // causal: a prefix of the columns
    head.parts[0].fold(first + i, {scores + i * n_keys, visible});
    std::fill(scores + i * n_keys + visible, scores + (i + 1) * n_keys, 0.0F);
  }
  head.parts[0].add_plain(first, q.n, scores, n_keys, head.v.data(), n_sinks);
  head.parts[0].add_plain(first, q.n, scores + n_sinks, n_keys, head.v.data() + window_row, n_window);
  if (track_received_) note_received(g, run, scores + n_sinks, n_keys);
}

void Attention::note_received(std::size_t g, Run run, const float* weights, std::size_t n_keys) {
  const CacheConfig& config = cache_.config();
  const std::size_t first = first_query_row(run);
  for (std::size_t i = 0; i < (run.end - run.begin) * group_; ++i) {
    const std::size_t query = run.begin + i / group_;
    const std::size_t oldest = first_counted(config, run.exact_begin, query);
    count_received(config, g, i % group_, {weights + i * n_keys + oldest - run.exact_begin, query - oldest},
                   1.0F / heads_[g].parts[0].sum(first + i),
                   received_.data() + row(oldest) * received_stride(config));
  }
}

void Attention::write_out(std::size_t g, Run run) {
  Head& head = heads_[g];
  const std::size_t first = first_query_row(run);
  const std::size_t n = (run.end - run.begin) * group_;
  head.out.resize(n * head_dim_);
  head.parts[0].finish(first, n, cache_.rotation(), cache_.value_side(chunk_.layer, g).centre, head.out);
  const std::size_t row_floats = group_ * head_dim_;
  for (std::size_t i = 0; i < run.end - run.begin; ++i) {
    const std::size_t token = run.begin - start_ + i;
    std::copy_n(head.out.begin() + i * row_floats, row_floats,
                chunk_.out + (token * heads_.size() + g) * row_floats);
  }
  if (chunk_.variance == nullptr) return;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t position = run.begin + i / group_;
    head.variance[position - start_] += head.parts[0].variance(first + i, position + 1);
  }
}

void Attention::store(std::size_t g, std::size_t exact_begin) {
  const std::size_t n_sinks = std::min(cache_.config().sinks, exact_begin);
  const std::size_t n_staged = layer().n_tokens - exact_begin;
  const std::size_t to = g * layer().exact_capacity * head_dim_;
  auto save = [&](const std::vector<float>& rows, std::pmr::vector<std::uint16_t>& stored) {
    const auto all = std::span(rows);
    const auto out = std::span(stored).subspan(to, (n_sinks + n_staged) * head_dim_);
    nn::f32_to_f16(all.first(n_sinks * head_dim_), out.first(n_sinks * head_dim_));
    nn::f32_to_f16(all.subspan(row(exact_begin) * head_dim_, n_staged * head_dim_),
                   out.subspan(n_sinks * head_dim_));
  };
  save(heads_[g].k, layer().exact_k);
  save(heads_[g].v, layer().exact_v);
}

void Attention::store_received(std::size_t exact_begin) {
  const std::size_t stride = received_stride(cache_.config());
  const std::size_t n_sinks = std::min(cache_.config().sinks, exact_begin);
  const auto staged = received_.begin() + row(exact_begin) * stride;
  std::copy(staged, received_.end(), layer().received.begin() + n_sinks * stride);
}

}  // namespace miser::kv
