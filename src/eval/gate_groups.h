#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kv/width.h"

namespace miser::eval {

/// How the groups of vectors differ whose quantisation is predicted and measured.
enum class GroupKind : std::uint8_t {
  kWide,   ///< in size, from a few vectors to a quarter of all, and in widths: the KL spans decades
  kAlike,  ///< in nothing but which vectors they are: sizes and the numbers of each width are equal
};

inline constexpr std::array<GroupKind, 2> kGroupKinds = {GroupKind::kWide, GroupKind::kAlike};

/// "wide", "alike".
std::string_view name(GroupKind kind);

/// Vectors are numbered as learn::Sensitivities has them.
struct GateChoice {
  std::size_t vector = 0;
  kv::Width width = kv::Width::k16;
};

struct GateGroup {
  GroupKind kind = GroupKind::kWide;
  std::vector<GateChoice> choices;  ///< of different vectors
};

/// Draws `n` groups of each kind from `n_vectors` vectors, at widths of 1 to 8 bits. Sizes of wide groups are
/// log-uniform, one from each n-th of the range. The same seed gives the same groups.
std::vector<GateGroup> draw_groups(std::size_t n_vectors, std::size_t n, std::uint64_t seed);

}  // namespace miser::eval
