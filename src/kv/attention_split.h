#pragma once
#include <atomic>
#include <cstddef>
#include <span>
#include <vector>

#include "kv/cache.h"
#include "kv/online_softmax.h"
#include "kv/packed.h"
#include "nn/thread_pool.h"

namespace miser::kv {

/// A few queries of one layer, at consecutive positions that read the same packed set; all are in the cache.
struct FewQueries {
  std::size_t layer = 0;
  std::size_t first_position = 0;
  std::size_t n = 0;
  const float* q = nullptr;     ///< [n, n_heads, head_dim] float, after RoPE
  float* out = nullptr;         ///< [n, n_heads, head_dim]
  float* variance = nullptr;    ///< [n] as AttentionChunk::variance, or null
  bool track_received = false;  ///< note in LayerCache::received what exact tokens receive
};

/// Attention of a few queries, as in decoding: it reads packed and exact rows where they lie. The work is
/// split by KV head and by runs of segments over the threads; whoever ends the last part of a head merges its
/// parts (flash decoding, Dao et al. 2023). Parts are a function of the text alone and merged in their order,
/// so results do not depend on the number of threads.
class SplitAttention {
 public:
  /// Query rows of a head (queries times group) up to which this is faster than products of matrices.
  static constexpr std::size_t kMaxRows = 16;

  /// Both outlive it.
  SplitAttention(Cache& cache, nn::ThreadPool& pool);

  void attend(const FewQueries& queries);

 private:
  /// Of one KV head.
  struct Head {
    QueryBuffer queries;               ///< [n * group]
    PackedQueries packed;              ///< the same, for packed keys
    std::vector<OnlineSoftmax> parts;  ///< the first is that of the exact rows
    std::vector<float> weights;        ///< [n * group, exact rows] exp(score - exact_max)
    std::vector<float> exact_max;      ///< [n * group]
    std::vector<float> variance;       ///< [n] sum over the group
    std::atomic<std::size_t> pending{0};
  };
  /// Scratch of one thread.
  struct Worker {
    PackedScratch packed;
    std::vector<float> scores;
  };

  void prepare(std::size_t g);
  void attend_exact(std::size_t g);
  void attend_segments(std::size_t g, std::size_t part, Worker& worker);
  std::span<const std::byte> first_keys(std::size_t item);
  void attend_segment(std::size_t g, std::size_t index, std::span<const std::byte> next_keys,
                      OnlineSoftmax& state, Worker& worker);
  void finish(std::size_t g);
  void note_received(std::size_t g);

  LayerCache& layer() { return cache_.layer(queries_.layer); }
  std::size_t query_rows() const { return queries_.n * group_; }

  Cache& cache_;
  nn::ThreadPool& pool_;
  std::size_t head_dim_;
  std::size_t group_;
  // Of the current queries.
  FewQueries queries_;
  std::size_t segments_per_part_ = 0;
  std::vector<Head> heads_;
  std::vector<Worker> workers_;
};

}  // namespace miser::kv
