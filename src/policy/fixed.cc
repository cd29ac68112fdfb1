#include "policy/fixed.h"

#include <fmt/format.h>

#include <algorithm>

namespace miser::policy {

std::string Fixed::name() const {
  if (k_ != v_) return fmt::format("k{}v{}", bits(k_), bits(v_));
  return k_ == kv::Width::k16 ? "f16" : fmt::format("q{}", bits(k_));
}

void Fixed::choose(const kv::LeavingBlock&, kv::BlockWidths& widths) {
  std::fill(widths.k.begin(), widths.k.end(), k_);
  std::fill(widths.v.begin(), widths.v.end(), v_);
}

}  // namespace miser::policy
