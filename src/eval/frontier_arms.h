#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace miser::eval {

/// Ways to spend the bytes of a cache that the frontier compares. All have the plan's centres.
enum class ArmKind : std::uint8_t {
  kFixed,     ///< one pair of widths for all tokens, unbiased scales
  kFixedLs,   ///< the same with least-squares scales
  kRule,      ///< bits of its own
  kPaper,     ///< the paper's controller, bits of its own
  kStatic,    ///< a width per (layer, KV head, side)
  kReceived,  ///< priced by the attention received
  kLearned,
  kShuffled,  ///< learned's widths, permuted over the tokens of each (layer, head, side)
  kInverted,  ///< learned's widths in the reverse order of their ranks in each (layer, head, side)
  kOracle,    ///< priced by the true sensitivities of the context
};

inline constexpr std::array<ArmKind, 10> kAllArmKinds = {
    ArmKind::kFixed,    ArmKind::kFixedLs, ArmKind::kRule,     ArmKind::kPaper,    ArmKind::kStatic,
    ArmKind::kReceived, ArmKind::kLearned, ArmKind::kShuffled, ArmKind::kInverted, ArmKind::kOracle};

/// "fixed", "fixed-ls", "rule", "paper", "static", "received", "learned", "shuffled", "inverted", "oracle".
std::string_view name(ArmKind kind);
/// Throws UsageError that lists the names.
ArmKind arm_kind(std::string_view name);

/// Whether the arm replays widths that were found before: it needs learned's run or a trace.
constexpr bool is_replayed(ArmKind kind) {
  return kind == ArmKind::kShuffled || kind == ArmKind::kInverted || kind == ArmKind::kOracle;
}
constexpr bool is_fixed(ArmKind kind) {
  return kind == ArmKind::kFixed || kind == ArmKind::kFixedLs;
}

/// One run of a context through the cache.
struct FrontierArm {
  ArmKind kind = ArmKind::kFixed;
  std::string pair;            ///< of fixed widths, as policy::parse reads it; empty of other kinds
  std::optional<double> bits;  ///< budget, stored bits per element; none: bits of its own
  std::size_t seed = 0;        ///< of a shuffle, from 1

  /// "k3v2", "k3v2/ls", "rule", "learned@2.25", "shuffled@2.25/3".
  std::string label() const;
  /// The label without the seed: shuffles are one arm.
  std::string group() const;
};

/// The fixed pairs, cheapest first.
const std::vector<std::string>& fixed_pairs();

/// All arms of a frontier in the order of kinds, then of budgets; `seeds` shuffles at each budget.
std::vector<FrontierArm> frontier_arms(const std::vector<ArmKind>& kinds, const std::vector<double>& budgets,
                                       std::size_t seeds);

}  // namespace miser::eval
