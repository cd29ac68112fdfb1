// The part of Attention that packs the blocks that leave the staged window.
#include <algorithm>

#include "kv/attention.h"

namespace miser::kv {

void Attention::commit(std::size_t until, WidthChooser& chooser) {
  const CacheConfig& config = cache_.config();
  while (layer().staged_begin < until) {
    const std::size_t end = (layer().staged_begin / config.block + 1) * config.block;
    const std::size_t first = std::max(layer().staged_begin, config.sinks);
    if (first < end) commit_block(first, end - first, chooser);
    layer().staged_begin = end;
  }
}

void Attention::commit_block(std::size_t first, std::size_t n, WidthChooser& chooser) {
  LeavingBlock block;
  block.layer = chunk_.layer;
  block.first_position = first;
  block.first_turn = first + cache_.shifted();
  block.n_tokens = n;
  block.read_from = first + n + cache_.config().window;
  describe(block, chooser);
  widths_.k.assign(heads_.size() * n, Width::k16);
  widths_.v.assign(heads_.size() * n, Width::k16);
  const std::size_t n_ratings = cache_.has_limit() ? n : 0;  // of a head
  widths_.k_rating.assign(heads_.size() * n_ratings, 0);
  widths_.v_rating.assign(heads_.size() * n_ratings, 0);
  chooser.choose(block, widths_);
  cache_.limit(widths_);

  const std::size_t segment = first / Segment::kMaxTokens;
  const std::size_t from = row(first) * head_dim_;
  for (PackedHead& head : layer().heads) head.add_segments(segment + 1, cache_.memory());
  pool_.parallel_for(2 * heads_.size(), [&](std::size_t item, int) {
    const std::size_t g = item / 2;
    const bool is_key = item % 2 == 0;
    PackedHead& head = layer().heads[g];
    const auto widths = std::span<const Width>(is_key ? widths_.k : widths_.v).subspan(g * n, n);
    const auto rows = std::span<const float>(is_key ? heads_[g].k : heads_[g].v).subspan(from, n * head_dim_);
    const std::vector<std::uint8_t>& ratings = is_key ? widths_.k_rating : widths_.v_rating;
    (is_key ? head.k : head.v)[segment].append(
        widths, rows, is_key ? cache_.key_side(chunk_.layer, g) : cache_.value_side(chunk_.layer, g),
        std::span(ratings).subspan(g * n_ratings, n_ratings));
  });
}

void Attention::describe(LeavingBlock& block, const WidthChooser& chooser) {
  const CacheConfig& config = cache_.config();
  block.n_heads = config.n_heads;
  block.n_kv_heads = config.n_kv_heads;
  block.head_dim = config.head_dim;
  if (chooser.wants_received()) copy_received(block);
  if (chooser.wants_norms()) measure_norms(block);
  if (chooser.wants_vectors()) copy_vectors(block);
}

void Attention::copy_received(LeavingBlock& block) {
  const std::size_t stride = received_stride(cache_.config());
  const std::size_t n_heads = block.n_heads;
  const std::size_t n_kv_heads = block.n_kv_heads;
  block_received_.resize(block.n_tokens * n_heads);
  block_received_sq_.resize(block.n_tokens * n_kv_heads);
  block_received_max_.resize(block.n_tokens * n_kv_heads);
  for (std::size_t i = 0; i < block.n_tokens; ++i) {
    const float* noted = received_.data() + row(block.first_position + i) * stride;
    std::copy_n(noted, n_heads, block_received_.begin() + i * n_heads);
    std::copy_n(noted + n_heads, n_kv_heads, block_received_sq_.begin() + i * n_kv_heads);
    std::copy_n(noted + n_heads + n_kv_heads, n_kv_heads, block_received_max_.begin() + i * n_kv_heads);
  }
  block.received = block_received_;
  block.received_sq = block_received_sq_;
  block.received_max = block_received_max_;
}

void Attention::measure_norms(LeavingBlock& block) {
  const std::size_t from = row(block.first_position);
  block_k_norm2_.resize(block.n_tokens * block.n_kv_heads);
  block_v_norm2_.resize(block.n_tokens * block.n_kv_heads);
  auto measure = [&](const std::vector<float>& rows, std::span<const float> centre, std::size_t g,
                     std::vector<float>& norms) {
    for (std::size_t i = 0; i < block.n_tokens; ++i) {
      const float* x = rows.data() + (from + i) * head_dim_;
      float sum = 0;
      for (std::size_t d = 0; d < head_dim_; ++d) sum += (x[d] - centre[d]) * (x[d] - centre[d]);
      norms[i * block.n_kv_heads + g] = sum;
    }
  };
  for (std::size_t g = 0; g < block.n_kv_heads; ++g) {
    measure(heads_[g].k, cache_.key_side(chunk_.layer, g).centre, g, block_k_norm2_);
    measure(heads_[g].v, cache_.value_side(chunk_.layer, g).centre, g, block_v_norm2_);
  }
  block.k_norm2 = block_k_norm2_;
  block.v_norm2 = block_v_norm2_;
}

void Attention::copy_vectors(LeavingBlock& block) {
  const std::size_t from = row(block.first_position);
  const std::size_t stride = block.n_kv_heads * head_dim_;
  block_k_.resize(block.n_tokens * stride);
  block_v_.resize(block.n_tokens * stride);
  for (std::size_t g = 0; g < block.n_kv_heads; ++g) {
    for (std::size_t i = 0; i < block.n_tokens; ++i) {
      const std::size_t row = (from + i) * head_dim_;
      const std::size_t to = i * stride + g * head_dim_;
      std::copy_n(heads_[g].k.data() + row, head_dim_, block_k_.data() + to);
      std::copy_n(heads_[g].v.data() + row, head_dim_, block_v_.data() + to);
    }
  }
  block.k = block_k_;
  block.v = block_v_;
}

}  // namespace miser::kv
