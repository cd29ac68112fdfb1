// The part of Attention that takes a few queries, as in decoding.
#include <algorithm>

#include "kv/attention.h"
#include "nn/ops.h"

namespace miser::kv {

void Attention::forward_few(WidthChooser& chooser) {
  start_ = layer().n_tokens;
  track_received_ = chooser.wants_received();
  const std::size_t q_dim = heads_.size() * group_ * head_dim_;
  Run run{};
  for (std::size_t at = start_; at < start_ + chunk_.n; at = run.end) {
    run = next_run(at);
    if (layer().staged_begin < run.exact_begin) pack_due(run, chooser);
    append_exact(run);
    const std::size_t done = at - start_;
    split_.attend({chunk_.layer, run.begin, run.end - run.begin, chunk_.q + done * q_dim,
                   chunk_.out + done * q_dim, chunk_.variance == nullptr ? nullptr : chunk_.variance + done,
                   track_received_});
  }
}

/// Packs the blocks that the run reads packed, from the rows of the cache.
void Attention::pack_due(Run run, WidthChooser& chooser) {
  staged_begin_ = layer().staged_begin;
  for (std::size_t g = 0; g < heads_.size(); ++g) load_exact(g);
  if (track_received_) load_received(layer().exact_rows());
  commit(run.exact_begin, chooser);
  layer().drop_packed_rows(staged_begin_);
}

/// Stores the keys and values of the run, which has received nothing yet.
void Attention::append_exact(Run run) {
  LayerCache& to = layer();
  const std::size_t first = to.exact_row(run.begin);
  const std::size_t n = run.end - run.begin;
  to.grow_exact(first + n, track_received_);
  const auto store = [&](const float* rows, std::pmr::vector<std::uint16_t>& stored) {
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t g = 0; g < heads_.size(); ++g) {
        const float* row = rows + ((run.begin - start_ + i) * heads_.size() + g) * head_dim_;
        nn::f32_to_f16({row, head_dim_},
                       std::span(stored).subspan((g * to.exact_capacity + first + i) * head_dim_, head_dim_));
      }
    }
  };
  store(chunk_.k, to.exact_k);
  store(chunk_.v, to.exact_v);
  if (track_received_) {
    const std::size_t stride = received_stride(cache_.config());
    std::fill_n(to.received.begin() + first * stride, n * stride, 0.0F);
  }
  to.n_tokens = run.end;
}

}  // namespace miser::kv
