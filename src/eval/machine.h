#pragma once
#include <string>

namespace miser::eval {

/// What a speed depends on besides model and policy.
struct Machine {
  std::string cpu;         ///< the kernel's name of the processor
  std::string simd;        ///< Highway's name of the instruction set in use: "AVX3_ZEN4"
  std::string build_type;  ///< CMake's: "Release"
  bool asserts = false;    ///< whether assert() checks, so that speeds say little
  std::string version;     ///< Miser's
};

Machine this_machine();

}  // namespace miser::eval
