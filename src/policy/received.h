#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "policy/priced.h"

namespace miser::policy {

/// out [K and V, n_tokens, n_kv_heads]: ln of the attention that a vector's token received from the next
/// queries, summed over the group, times |x - centre|^2. REQUIRES: a block with received attention and norms.
void rate_by_received(const kv::LeavingBlock& block, std::span<float> out);

/// A baseline without learning: rates a vector by what its token received, as eviction by accumulated
/// attention does (H2O, arXiv 2306.14048).
class Received final : public Priced {
 public:
  Received(std::shared_ptr<const Plan> plan, float budget, std::string name)
      : Priced(std::move(plan), budget, std::nullopt, std::move(name)) {}
  bool wants_received() const override { return true; }
  bool wants_norms() const override { return true; }
  void rate(const kv::LeavingBlock& block, std::span<float> out) override { rate_by_received(block, out); }
};

}  // namespace miser::policy
