#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "policy/policy.h"

namespace miser::policy {

/// A width per vector of a text: [K and V, n_layers, n_tokens, n_kv_heads], 16 bits at first.
class WidthTable {
 public:
  WidthTable(std::size_t n_layers, std::size_t n_tokens, std::size_t n_kv_heads)
      : n_layers_(n_layers),
        n_tokens_(n_tokens),
        n_kv_heads_(n_kv_heads),
        widths_(2 * n_layers * n_tokens * n_kv_heads, kv::Width::k16) {}

  /// side 0 is K, 1 is V. REQUIRES: inside the table.
  kv::Width& at(std::size_t side, std::size_t layer, std::size_t position, std::size_t head) {
    return widths_[((side * n_layers_ + layer) * n_tokens_ + position) * n_kv_heads_ + head];
  }
  kv::Width at(std::size_t side, std::size_t layer, std::size_t position, std::size_t head) const {
    return widths_[((side * n_layers_ + layer) * n_tokens_ + position) * n_kv_heads_ + head];
  }
  std::size_t n_layers() const { return n_layers_; }
  std::size_t n_tokens() const { return n_tokens_; }
  std::size_t n_kv_heads() const { return n_kv_heads_; }

 private:
  std::size_t n_layers_;
  std::size_t n_tokens_;
  std::size_t n_kv_heads_;
  std::vector<kv::Width> widths_;
};

/// Gives every vector the width that a table says: shuffles, oracles, experiments.
class Replay final : public Policy {
 public:
  /// REQUIRES: the table has every position that will leave.
  explicit Replay(std::shared_ptr<const WidthTable> table) : table_(std::move(table)) {}
  std::string name() const override { return "replay"; }
  void choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) override;

 private:
  std::shared_ptr<const WidthTable> table_;
};

/// Decides as another policy does, and notes the widths in a table.
class NoteWidths final : public Policy {
 public:
  /// REQUIRES: the table has every position that will leave. `table` outlives the policy.
  NoteWidths(std::unique_ptr<Policy> policy, WidthTable& table) : policy_(std::move(policy)), table_(table) {}
  std::string name() const override { return policy_->name(); }
  bool wants_received() const override { return policy_->wants_received(); }
  bool wants_norms() const override { return policy_->wants_norms(); }
  bool wants_vectors() const override { return policy_->wants_vectors(); }
  bool wants_token_signals() const override { return policy_->wants_token_signals(); }
  std::size_t decision_period() const override { return policy_->decision_period(); }
  void clear() override { policy_->clear(); }
  void copy_state(const Policy& other) override {
    policy_->copy_state(*dynamic_cast<const NoteWidths&>(other).policy_);
  }
  void choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) override;

 private:
  std::unique_ptr<Policy> policy_;
  WidthTable& table_;
};

}  // namespace miser::policy
