#include "eval/frontier_arms.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace miser::eval {
namespace {

constexpr std::array<std::string_view, kAllArmKinds.size()> kNames = {
    "fixed", "fixed-ls", "rule", "paper", "static", "received", "learned", "shuffled", "inverted", "oracle"};

}  // namespace

std::string_view name(ArmKind kind) {
  return kNames[static_cast<std::size_t>(kind)];
}

ArmKind arm_kind(std::string_view text) {
  const auto found = std::find(kNames.begin(), kNames.end(), text);
  if (found == kNames.end())
    fail_usage("unknown arm '{}', expected one of {}", text, fmt::join(kNames, ", "));
  return kAllArmKinds[static_cast<std::size_t>(found - kNames.begin())];
}

std::string FrontierArm::group() const {
  if (kind == ArmKind::kFixed) return pair;
  if (kind == ArmKind::kFixedLs) return pair + "/ls";
  return bits ? fmt::format("{}@{}", name(kind), *bits) : std::string(name(kind));
}

std::string FrontierArm::label() const {
  return seed == 0 ? group() : fmt::format("{}/{}", group(), seed);
}

const std::vector<std::string>& fixed_pairs() {
  static const std::vector<std::string> pairs = {"q1", "k2v1", "q2", "k3v2", "q3", "k4v3", "q4", "k8v4"};
  return pairs;
}

std::vector<FrontierArm> frontier_arms(const std::vector<ArmKind>& kinds, const std::vector<double>& budgets,
                                       std::size_t seeds) {
  std::vector<FrontierArm> arms;
  for (const ArmKind kind : kAllArmKinds) {
    if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) continue;
    if (is_fixed(kind)) {
      for (const std::string& pair : fixed_pairs()) arms.push_back({kind, pair, std::nullopt, 0});
    } else if (kind == ArmKind::kRule || kind == ArmKind::kPaper) {
      arms.push_back({kind, "", std::nullopt, 0});
    } else {
      for (const double bits : budgets) {
        const std::size_t n = kind == ArmKind::kShuffled ? seeds : 1;
        for (std::size_t i = 0; i < n; ++i)
          arms.push_back({kind, "", bits, kind == ArmKind::kShuffled ? i + 1 : 0});
      }
    }
  }
  return arms;
}

}  // namespace miser::eval
