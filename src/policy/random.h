#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "policy/policy.h"

namespace miser::policy {

/// Widths drawn with given shares, the null hypothesis of every learned policy. The width of a vector is a
/// function of (seed, layer, head, side, position) alone: the top 53 bits of a chain of splitmix64 steps over
/// these, in this order (side 0 is K), as a number in [0, 1), looked up in the cumulative shares.
class Random final : public Policy {
 public:
  /// `spec` is SHARES[:SEED], SHARES a list like "1=45,2=15,4=40" in per cent. Throws UsageError.
  explicit Random(std::string_view spec);
  std::string name() const override;
  kv::Width widest() const override;
  void choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) override;

  /// The width of one vector; side 0 is K, 1 is V.
  kv::Width draw(std::size_t layer, std::size_t head, std::size_t side, std::size_t position) const;

 private:
  void parse_shares(std::string_view shares);

  std::array<double, kv::kWidthCount> shares_{};      ///< per cent
  std::array<double, kv::kWidthCount> cumulative_{};  ///< of shares, up to 1
  std::uint64_t seed_ = 0;
};

}  // namespace miser::policy
