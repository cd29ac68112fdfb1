#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "kv/attention_split.h"
#include "kv/cache.h"
#include "kv/level_products.h"
#include "kv/online_softmax.h"
#include "kv/width_chooser.h"
#include "nn/thread_pool.h"

namespace miser::kv {

/// Queries of one chunk in one layer; all rows are float, after RoPE.
struct AttentionChunk {
  std::size_t layer = 0;
  std::size_t n = 0;          ///< tokens, at the positions that follow those of the layer
  const float* q = nullptr;   ///< [n, n_heads, head_dim]
  const float* k = nullptr;   ///< [n, n_kv_heads, head_dim]
  const float* v = nullptr;   ///< [n, n_kv_heads, head_dim]
  float* out = nullptr;       ///< [n, n_heads, head_dim]
  float* variance = nullptr;  ///< [n] mean over heads of the variance of the attention row, or null
};

/// Causal grouped-query attention of a chunk over a cache, and the commit of the blocks that leave meanwhile.
///
/// A chunk is cut into runs of queries that see the same packed set. Segments that were full before the chunk
/// are unpacked once and multiplied with all of its queries; then run after run: the blocks due at its first
/// query are decided and packed, the rest of the packed tokens and the exact ones are attended to, and what
/// the exact tokens received is noted. So the result does not depend on how a text is cut into chunks.
class Attention {
 public:
  /// Both outlive it.
  Attention(Cache& cache, nn::ThreadPool& pool);

  /// REQUIRES: the chunk fits into the context.
  void forward(const AttentionChunk& chunk, WidthChooser& chooser);

 private:
  /// Scratch of one KV head.
  struct Head {
    std::vector<float> k;              ///< exact rows [n_rows, head_dim], sinks first
    std::vector<float> v;              ///< the same
    QueryBuffer queries;               ///< [n * group]
    std::vector<float> variance;       ///< [n] sum over the group
    std::vector<OnlineSoftmax> parts;  ///< one per share of the full segments; the first gathers all
    std::vector<float> out;            ///< [run * group, head_dim]
  };
  /// Scratch of one thread.
  struct Worker {
    Tile keys;
    Tile values;
    std::vector<float> scores;
    LevelProducts levels;
  };
  /// Queries at positions [begin, end) that read the positions before `exact_begin` packed.
  struct Run {
    std::size_t begin;
    std::size_t end;
    std::size_t exact_begin;
  };

  void forward_few(WidthChooser& chooser);
  void pack_due(Run run, WidthChooser& chooser);
  void append_exact(Run run);
  void begin(const WidthChooser& chooser);
  Run next_run(std::size_t begin);
  void gather(std::size_t g);
  void load_exact(std::size_t g);
  void load_received(std::size_t n_rows);
  void append_fresh(std::size_t g);
  void attend_full_segments();
  void attend_segments(std::size_t g, std::size_t first, std::size_t last, Run run, OnlineSoftmax& state,
                       Worker& worker);
  void attend_run(std::size_t g, Run run, Worker& worker);
  void attend_exact(std::size_t g, Run run, Worker& worker);
  void note_received(std::size_t g, Run run, const float* weights, std::size_t n_keys);
  void write_out(std::size_t g, Run run);
  void store(std::size_t g, std::size_t exact_begin);
  void store_received(std::size_t exact_begin);

  void commit(std::size_t until, WidthChooser& chooser);
  void commit_block(std::size_t first, std::size_t n, WidthChooser& chooser);
  void describe(LeavingBlock& block, const WidthChooser& chooser);
  void copy_received(LeavingBlock& block);
  void measure_norms(LeavingBlock& block);
  void copy_vectors(LeavingBlock& block);

  LayerCache& layer() { return cache_.layer(chunk_.layer); }
  /// Row of an exact position in Head::k, Head::v and received_; the same for the whole chunk.
  std::size_t row(std::size_t position) const;
  /// Rows of a run's queries among all of the chunk's.
  std::size_t first_query_row(Run run) const { return (run.begin - start_) * group_; }
  QueryRows queries(std::size_t g, Run run) const;

  Cache& cache_;
  nn::ThreadPool& pool_;
  SplitAttention split_;
  std::size_t head_dim_;
  std::size_t group_;
  // Of the current chunk.
  AttentionChunk chunk_;
  std::size_t start_ = 0;         ///< position of its first query
  std::size_t staged_begin_ = 0;  ///< of the layer when it began
  std::size_t n_full_ = 0;        ///< segments that were full then
  bool track_received_ = false;
  std::vector<Head> heads_;
  std::vector<Worker> workers_;
  std::vector<float> received_;  ///< [n_rows, received_stride]
  // Of the block that leaves.
  BlockWidths widths_;
  std::vector<float> block_received_, block_received_sq_, block_received_max_;
  std::vector<float> block_k_norm2_, block_v_norm2_;
  std::vector<float> block_k_, block_v_;
};

}  // namespace miser::kv
