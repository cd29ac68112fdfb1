#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "policy/priced.h"

namespace miser::policy {

/// A baseline without learning: rates a vector by the attention that its token received from the next
/// queries times |x - centre|^2, as eviction by accumulated attention does (H2O, arXiv 2306.14048).
class Received final : public Priced {
 public:
  Received(std::shared_ptr<const Plan> plan, float budget, std::string name)
      : Priced(std::move(plan), budget, std::nullopt, std::move(name)) {}
  bool wants_received() const override { return true; }
  bool wants_norms() const override { return true; }
  void rate(const kv::LeavingBlock& block, std::span<float> out) override;
};

}  // namespace miser::policy
