#pragma once
#include <cstdint>
#include <unordered_map>
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
  struct Merge {
    std::int32_t rank;
    Token merged;
  };
  struct Hash {
    std::size_t operator()(std::uint64_t pair) const;
  };
  class Pass;

  const Merge* find(Token left, Token right) const;

  std::unordered_map<std::uint64_t, Merge, Hash> merges_;
};

}  // namespace miser
