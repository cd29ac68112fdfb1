#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "learn/position_rule.h"
#include "model/config.h"
#include "nn/thread_pool.h"

namespace miser::learn {

/// One layer's attention over a whole context of n tokens, S samples.
struct AttentionRows {
  std::size_t n = 0;
  const float* q = nullptr;    ///< [n, n_heads, head_dim] after RoPE
  const float* k = nullptr;    ///< [n_kv_heads, n, head_dim] after RoPE, as read
  const float* v = nullptr;    ///< [n_kv_heads, n, head_dim] as read
  const float* out = nullptr;  ///< [n, n_heads, head_dim]
  float* d_out = nullptr;      ///< [n, S, n_heads, head_dim] gradient by `out`; becomes that by q
};

/// Gradients of the keys and values of `n` tokens of one KV head, per sample: as read by the queries that
/// read them packed, and by all queries.
struct TokenGradients {
  std::vector<float> packed;  ///< [2, S, head_dim, n]: K, V
  std::vector<float> all;     ///< [2, S, head_dim, n]
};

/// The backward pass of causal grouped-query attention. With scores z = q.k / sqrt(D), p = softmax(z), o =
/// sum p v:
///     dv_i = sum_t p_ti do_t,   dz_ti = p_ti (do_t.v_i - do_t.o_t),
///     dk_i = sum_t dz_ti q_t / sqrt(D),   dq_t = sum_i dz_ti k_i / sqrt(D).
/// Queries go in blocks, so that only [block, n] probabilities are held, and all samples share them. The work
/// is cut into ranges of queries by the shape alone, each with sums of its own, so results do not depend on
/// the threads.
class AttentionGradient {
 public:
  AttentionGradient(const ModelConfig& config, PositionRule rule, std::size_t n_samples);

  void run(const AttentionRows& rows, nn::ThreadPool& pool);

  /// Of the tokens [first, first + n) in the layer of the last run().
  void read(std::size_t kv_head, std::size_t first, std::size_t n, TokenGradients& out) const;

 private:
  /// Sums of one range of queries of one KV head, transposed: [S * head_dim, columns] for the keys and values
  /// from `first` on.
  struct Sums {
    void reset(std::size_t n_rows, std::size_t first_key, std::size_t end_key);
    /// out [2, n_rows, n] += the columns of the tokens [first_token, first_token + n) that are here.
    void add_tokens(std::size_t first_token, std::size_t n, std::vector<float>& out) const;

    std::size_t first = 0;
    std::size_t columns = 0;
    std::vector<float> k, v;
  };
  struct Item {
    Sums packed, exact;
  };
  /// Queries [begin, end) of the KV head g.
  struct Block {
    std::size_t g, begin, end;
  };
  struct Worker {
    std::vector<float> q;             ///< [rows, head_dim], scaled; row = query * group + head of the group
    std::vector<float> q_transposed;  ///< [head_dim, rows]
    std::vector<float> d_out;         ///< [S, rows, head_dim]
    std::vector<float> d_transposed;  ///< [S, head_dim, rows]
    std::vector<float> along;         ///< [S, rows]: do.o
    std::vector<float> p;             ///< [rows, keys]
    std::vector<float> d_scores;      ///< [S, rows, keys of a tile]
    std::vector<float> d_q;           ///< [S, rows, head_dim]
    std::vector<float> part;          ///< of p or d_scores
  };
  /// Keys [begin, end).
  struct Tile {
    std::size_t begin, end;
    std::size_t size() const { return end - begin; }
  };

  std::size_t range_begin(std::size_t range) const;
  void run_block(Block block, Item& item, Worker& w) const;
  void gather(Block block, Worker& w) const;
  void find_probabilities(Block block, Worker& w) const;
  void find_score_gradients(Block block, Tile tile, Worker& w) const;
  void add_packed(Block block, Tile tile, Item& item, Worker& w) const;
  void add_band(Block block, Tile tile, Item& item, Worker& w) const;
  void add_to(Sums& sums, Block block, Tile tile, const float* p, std::size_t ldp, const float* d_scores,
              const Worker& w) const;
  void write_d_q(Block block, const Worker& w) const;
  std::size_t n_rows(Block block) const { return (block.end - block.begin) * group_; }

  std::size_t head_dim_;
  std::size_t n_kv_heads_;
  std::size_t group_;
  std::size_t n_samples_;
  std::size_t n_ranges_;
  PositionRule rule_;
  AttentionRows rows_;
  std::vector<Item> items_;  ///< [n_kv_heads, n_ranges]
  std::vector<Worker> workers_;
};

}  // namespace miser::learn
