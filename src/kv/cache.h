#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <optional>
#include <span>
#include <vector>

#include "kv/budget.h"
#include "kv/centres.h"
#include "kv/counting_resource.h"
#include "kv/layer_cache.h"
#include "kv/rotation.h"
#include "kv/segment.h"
#include "kv/width_chooser.h"
#include "nn/thread_pool.h"

namespace miser::kv {

/// The KV cache of one sequence. Exactness goes by position, never by chunk: a block [b, b + B) is read
/// packed from the query at position t on when b + B + W <= t. See docs/ARCHITECTURE.md.
class Cache {
 public:
  /// `memory` receives every allocation that grows with tokens. Throws Error when the configuration is
  /// impossible (a block that does not divide a segment, centres of another size, a limit of memory below
  /// what the exact tokens need).
  explicit Cache(const CacheConfig& config, const Centres& centres = {},
                 std::pmr::memory_resource* memory = std::pmr::new_delete_resource());

  const CacheConfig& config() const { return config_; }
  /// Positions so far, those of dropped tokens included, those that shift() took away not.
  std::size_t size() const { return layers_.empty() ? 0 : layers_.back().n_tokens; }
  /// Most positions: the context or what the limit of memory allows, and what shift() gained.
  std::size_t capacity() const { return limit_of_tokens() + sink_offset_; }
  /// Tokens that were dropped, to save memory or by shift(): those that followed the sinks.
  std::size_t n_dropped() const { return rope_base_ + first_kept() - config_.sinks; }
  /// Positions that shift() has taken away: RoPE turned the token at p, but for sinks, as at p + shifted().
  std::size_t shifted() const { return rope_base_; }
  /// Drops the older half of the tokens behind the sinks, which follow (docs/cache-layout.md), and takes away
  /// positions: sinks keep theirs, all others lose as much as it returns. `rope_frequencies`: radians per
  /// position of each pair. REQUIRES: CacheConfig::shift, size() == capacity().
  std::size_t shift(std::span<const float> rope_frequencies, nn::ThreadPool& pool);
  void clear();
  /// Drops the tokens from position `n` on; nothing where there are none. docs/cache-layout.md says what
  /// differs from a cache that never had them. REQUIRES: n is no dropped position after a shift().
  void truncate(std::size_t n);
  /// How many of the next `n` tokens may come in one chunk, after making room for them where there is a limit
  /// of memory: vectors are demoted, or the oldest tokens dropped. Call it before every chunk. REQUIRES: n >
  /// 0 tokens fit into the capacity.
  std::size_t admit(std::size_t n, nn::ThreadPool& pool);
  /// Narrows the widths of a leaving block to what the limit of memory allows.
  void limit(BlockWidths& widths) const;
  bool has_limit() const { return budget_.has_value(); }
  /// Takes over the tokens of `other`, which keeps them and shares its packed segments; its memory resource
  /// outlives both. REQUIRES: the same configuration and centres.
  void copy_tokens(const Cache& other);

  /// First position that the query at `position` reads exactly (sinks aside).
  std::size_t exact_begin(std::size_t position) const { return kv::exact_begin(config_, position); }
  LayerCache& layer(std::size_t index) { return layers_[index]; }
  const LayerCache& layer(std::size_t index) const { return layers_[index]; }
  Side key_side(std::size_t layer, std::size_t head) const {
    return side(centres_k_, layer, head, SideKind::kKeys);
  }
  Side value_side(std::size_t layer, std::size_t head) const {
    return side(centres_v_, layer, head, SideKind::kValues);
  }
  const Rotation& rotation() const { return rotation_; }
  CountingResource* memory() { return memory_.get(); }

  /// Bytes held now and at most so far: payload, scales, tags, staged rows, signals, centres, slack, and all
  /// that is shared with other caches, so that a limit means the same in any company.
  std::size_t bytes() const { return memory_->bytes(); }
  std::size_t bytes_peak() const { return memory_->peak(); }
  /// Those of bytes() that other caches hold too.
  std::size_t bytes_shared() const;
  /// Bytes that the tokens that it holds take in binary16.
  std::size_t bytes_f16() const;
  /// 8 * bytes() / elements; 0 when empty.
  double bits_per_element() const;
  /// Vectors at each width; sinks and staged vectors count as 16 bits.
  std::array<std::uint64_t, kWidthCount> vectors_at() const;

 private:
  friend class CacheFile;

  std::size_t first_kept() const { return std::max(first_kept_, config_.sinks); }
  std::size_t n_held() const { return size() + config_.sinks - first_kept(); }
  std::size_t limit_of_tokens() const;
  void check_shift() const;
  void turn_sinks(std::size_t by, std::span<const float> rope_frequencies);
  std::size_t renumber();
  void drop_before(std::size_t first, nn::ThreadPool& pool);
  void truncate(std::size_t layer, std::size_t n);
  void make_room(nn::ThreadPool& pool);
  std::size_t needed(std::size_t end) const;
  bool fits(std::size_t end) const { return needed(end) <= config_.memory; }
  void demote(std::size_t wanted, nn::ThreadPool& pool);
  void drop_oldest(std::size_t wanted, nn::ThreadPool& pool);
  template <typename F>
  void for_each_segment(F&& f);
  template <typename F>
  void for_all_segments(F&& f) const;
  Side side(const std::pmr::vector<float>& centres, std::size_t layer, std::size_t head, SideKind kind) const;

  CacheConfig config_;
  std::unique_ptr<CountingResource> memory_;
  std::pmr::vector<float> centres_k_;  ///< as Centres::k, or one row of zeros for all heads
  std::pmr::vector<float> centres_v_;
  Rotation rotation_;
  std::pmr::vector<LayerCache> layers_;
  std::size_t first_kept_ = 0;   ///< the positions before it are dropped, but for the sinks
  std::size_t rope_base_ = 0;    ///< what RoPE counts more than size() does
  std::size_t sink_offset_ = 0;  ///< the sinks are turned as if they stood so much later
  std::optional<Budget> budget_;
};

}  // namespace miser::kv
