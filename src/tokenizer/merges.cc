#include "tokenizer/merges.h"

#include <queue>
#include <tuple>

namespace miser {
namespace {

std::uint64_t pair_key(Token left, Token right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

}  // namespace

// Fibonacci hashing: ids are small and dense, the buckets use the low bits.
std::size_t MergeTable::Hash::operator()(std::uint64_t pair) const {
  const std::uint64_t mixed = pair * 0x9E3779B97F4A7C15U;
  return static_cast<std::size_t>(mixed ^ mixed >> 32);
}

void MergeTable::add(Token left, Token right, std::int32_t rank, Token merged) {
  merges_.try_emplace(pair_key(left, right), Merge{rank, merged});
}

const MergeTable::Merge* MergeTable::find(Token left, Token right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

/// One run over the symbols of a word: a doubly linked list of what is left and a heap of candidates, some of
/// them outdated.
class MergeTable::Pass {
 public:
  Pass(const MergeTable& table, const std::vector<Token>& symbols) : table_(table) {
    const std::size_t n = symbols.size();
    nodes_.reserve(n);
    for (std::size_t i = 0; i < n; ++i) nodes_.push_back({symbols[i], i - 1, i + 1});
    for (std::size_t i = 0; i + 1 < n; ++i) push(i);
  }

  void run(std::vector<Token>& symbols) {
    while (!heap_.empty()) {
      const Candidate best = heap_.top();
      heap_.pop();
      if (is_current(best)) merge(best);
    }
    symbols.clear();
    for (std::size_t i = 0; i < nodes_.size(); i = nodes_[i].next) symbols.push_back(nodes_[i].symbol);
  }

 private:
  struct Node {
    Token symbol;
    std::size_t previous;  ///< wraps around before the first node
    std::size_t next;      ///< nodes_.size() after the last
  };
  struct Candidate {
    std::int32_t rank;
    std::size_t at;  ///< node of the left symbol
    Token left, right, merged;
    bool operator<(const Candidate& other) const {  // std::priority_queue serves the greatest
      return std::tie(rank, at) > std::tie(other.rank, other.at);
    }
  };

  void push(std::size_t at) {
    const Token left = nodes_[at].symbol;
    const Token right = nodes_[nodes_[at].next].symbol;
    if (left < 0 || right < 0) return;
    if (const Merge* merge = table_.find(left, right))
      heap_.push({merge->rank, at, left, right, merge->merged});
  }

  bool is_current(const Candidate& candidate) const {
    const Node& left = nodes_[candidate.at];
    return left.symbol == candidate.left && left.next < nodes_.size() &&
           nodes_[left.next].symbol == candidate.right;
  }

  void merge(const Candidate& candidate) {
    constexpr Token kMergedAway = -1;
    Node& left = nodes_[candidate.at];
    Node& right = nodes_[left.next];
    left.symbol = candidate.merged;
    right.symbol = kMergedAway;
    left.next = right.next;
    if (left.next < nodes_.size()) {
      nodes_[left.next].previous = candidate.at;
      push(candidate.at);
    }
    if (left.previous < nodes_.size()) push(left.previous);
  }

  const MergeTable& table_;
  std::vector<Node> nodes_;
  std::priority_queue<Candidate> heap_;
};

void MergeTable::apply(std::vector<Token>& symbols) const {
  if (symbols.size() > 1) Pass(*this, symbols).run(symbols);
}

}  // namespace miser
