#include "tokenizer/merges.h"

#include <queue>
#include <tuple>
#include <utility>

namespace miser {
namespace {

std::uint64_t pair_key(Token left, Token right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

}  // namespace

std::size_t MergeTable::find(Token left, Token right) const {
  const std::uint64_t pair = pair_key(left, right);
  const std::uint64_t mixed = pair * 0x9E3779B97F4A7C15U;  // Fibonacci hashing: ids are small and dense
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = static_cast<std::size_t>(mixed ^ mixed >> 32) & mask;
  while (slots_[at].merged != kEmpty && slots_[at].pair != pair) at = (at + 1) & mask;
  return at;
}

void MergeTable::add(Token left, Token right, std::int32_t rank, Token merged) {
  if (2 * (used_ + 1) > slots_.size()) grow();
  Slot& slot = slots_[find(left, right)];
  if (slot.merged != kEmpty) return;
  slot = {pair_key(left, right), rank, merged};
  ++used_;
}

void MergeTable::grow() {
  const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(2 * slots_.size()));
  for (const Slot& slot : old) {
    if (slot.merged == kEmpty) continue;
    const auto left = static_cast<Token>(slot.pair >> 32);
    const auto right = static_cast<Token>(slot.pair & 0xFFFFFFFFU);
    slots_[find(left, right)] = slot;
  }
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
    const Slot& slot = table_.slots_[table_.find(left, right)];
    if (slot.merged != kEmpty) heap_.push({slot.rank, at, left, right, slot.merged});
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
