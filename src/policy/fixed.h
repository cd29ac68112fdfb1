#pragma once
#include <algorithm>
#include <string>

#include "policy/policy.h"

namespace miser::policy {

/// One width for all keys and one for all values.
class Fixed final : public Policy {
 public:
  Fixed(kv::Width k, kv::Width v) : k_(k), v_(v) {}
  std::string name() const override;
  kv::Width widest() const override { return std::max(k_, v_); }
  void choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) override;

 private:
  kv::Width k_;
  kv::Width v_;
};

}  // namespace miser::policy
