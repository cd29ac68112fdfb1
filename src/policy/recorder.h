#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

#include "policy/policy.h"

namespace miser::policy {

/// What a policy was told of one token and what it decided, averaged over layers and heads.
struct TokenRecord {
  bool left = false;       ///< whether the token has left the window; before that only 16 bits are known
  float bits = 16;         ///< mean nominal width of its K and V vectors
  float received = 0;      ///< mean over layers and query heads of the attention received
  float received_sq = 0;   ///< mean over layers and KV heads
  float received_max = 0;  ///< maximum over layers and heads
  float k_norm2 = 0;       ///< mean |k - centre|^2
  float v_norm2 = 0;       ///< mean |v - centre|^2
};

/// Stands before a policy and keeps, by position, what passes.
class Recorder final : public kv::WidthChooser {
 public:
  /// `policy` outlives the recorder.
  Recorder(kv::WidthChooser& policy, std::size_t n_layers) : policy_(policy), n_layers_(n_layers) {}

  bool wants_received() const override { return true; }
  bool wants_norms() const override { return true; }
  bool wants_vectors() const override { return policy_.wants_vectors(); }
  void choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) override;

  /// Records by position; positions that have not left are missing or have `left` false.
  const std::vector<TokenRecord>& tokens() const { return tokens_; }
  /// The record of `position`, a default one while it is exact.
  TokenRecord at(std::size_t position) const;
  void clear() { tokens_.clear(); }
  /// Forgets the positions from `n` on.
  void truncate(std::size_t n) { tokens_.resize(std::min(n, tokens_.size())); }
  void copy_tokens(const Recorder& other) { tokens_ = other.tokens_; }

 private:
  kv::WidthChooser& policy_;
  std::size_t n_layers_;
  std::vector<TokenRecord> tokens_;
};

}  // namespace miser::policy
