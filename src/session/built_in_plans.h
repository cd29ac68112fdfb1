#pragma once
#include <cstddef>
#include <span>
#include <string_view>

namespace miser {

/// A file of the repository's folder plans/, which the build puts into the program (built_in_plans.cmake).
struct BuiltInPlan {
  std::string_view name;  ///< of the file
  std::span<const std::byte> bytes;
};

std::span<const BuiltInPlan> built_in_plans();

}  // namespace miser
