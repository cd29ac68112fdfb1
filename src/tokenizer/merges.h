#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace miser {

/// Pairs of neighbouring symbols that may become one, and the greedy algorithm that byte-pair encoding
/// (Sennrich et al. 2016) and SentencePiece's score merges share: the pair of lowest rank is merged first, of
/// equal ranks the leftmost.
class MergeTable {
 public:
  /// A pair that is there already stays as it is: the first of two merges counts.
  void add(Token left, Token right, std::int32_t rank, Token merged);
  /// Merges until no pair of `symbols` is in the table: O(n log n). Symbols below 0 merge with nothing.
  void apply(std::vector<Token>& symbols) const;

 private:
  // Open addressing with linear probing, at most half full: the merges of long words are all look-ups.
  struct Slot {
    std::uint64_t pair = 0;
    std::int32_t rank = 0;
    Token merged = kEmpty;
  };
  static constexpr Token kEmpty = -1;
  class Pass;

  /// Index of the pair's slot, or of the empty one where it would go.
  std::size_t find(Token left, Token right) const;
  void grow();

  std::vector<Slot> slots_ = std::vector<Slot>(16);  ///< a power of two
  std::size_t used_ = 0;
};

}  // namespace miser
