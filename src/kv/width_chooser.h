#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kv/width.h"

namespace miser::kv {

/// Most queries whose attention is counted as received; a shorter window counts fewer.
inline constexpr std::size_t kReceivedHorizon = 32;

/// What is known of the vectors of one block of tokens in one layer at the moment they leave the staged
/// window. Sinks never leave, so a block that begins inside them is shorter.
struct LeavingBlock {
  std::size_t layer = 0;
  std::size_t first_position = 0;
  std::size_t first_turn = 0;  ///< what RoPE counts for the first token: more than its position after a shift
  std::size_t n_tokens = 0;
  std::size_t n_heads = 0;
  std::size_t n_kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t read_from = 0;  ///< position of the first query that reads the block packed

  // Attention that each token i received from the queries i + 1 to i + min(window, kReceivedHorizon) of this
  // layer. Empty unless wanted. A query head's group is the KV head it reads: group = n_heads / n_kv_heads.
  std::span<const float> received;      ///< [n_tokens, n_heads] sum of probabilities
  std::span<const float> received_sq;   ///< [n_tokens, n_kv_heads] sum of squares, mean over the group
  std::span<const float> received_max;  ///< [n_tokens, n_kv_heads] maximum over queries and group

  // |x - centre|^2 of each vector. Empty unless wanted.
  std::span<const float> k_norm2;  ///< [n_tokens, n_kv_heads]
  std::span<const float> v_norm2;  ///< [n_tokens, n_kv_heads]

  // The vectors as the model made them, keys behind RoPE: neither centred nor rotated. Empty unless wanted.
  std::span<const float> k;  ///< [n_tokens, n_kv_heads, head_dim]
  std::span<const float> v;  ///< the same
};

/// A width for each K and V vector of a leaving block, and what it is worth.
struct BlockWidths {
  std::vector<Width> k;  ///< [n_kv_heads, n_tokens]
  std::vector<Width> v;  ///< [n_kv_heads, n_tokens]
  /// The same, as rating_of() gives them (kv/demotion.h). Only a cache with a budget reads them; vectors that
  /// nobody rates are worth least, the oldest less than the others.
  std::vector<std::uint8_t> k_rating{};
  std::vector<std::uint8_t> v_rating{};
};

/// Decides how many bits leaving vectors keep. Called once per layer and block, in order of positions within
/// a layer; never told how vectors are coded.
class WidthChooser {
 public:
  virtual ~WidthChooser() = default;
  /// Which optional fields of LeavingBlock `choose` reads; only those are computed.
  virtual bool wants_received() const { return false; }
  virtual bool wants_norms() const { return false; }
  virtual bool wants_vectors() const { return false; }
  /// No width that `choose` gives is wider.
  virtual Width widest() const { return Width::k16; }
  /// Fills `widths`, already sized, for `block`.
  virtual void choose(const LeavingBlock& block, BlockWidths& widths) = 0;
};

}  // namespace miser::kv
