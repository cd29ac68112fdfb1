#include "eval/machine.h"

#include <fstream>
#include <string_view>

#include "eval/bandwidth.h"

namespace miser::eval {
namespace {

/// x86 has a line "model name"; elsewhere the architecture must do.
std::string cpu_name() {
  constexpr std::string_view kField = "model name";
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t value = line.find(": ");
    if (line.starts_with(kField) && value != std::string::npos) return line.substr(value + 2);
  }
  return "unknown";
}

#ifdef NDEBUG
constexpr bool kAsserts = false;
#else
constexpr bool kAsserts = true;
#endif

}  // namespace

Machine this_machine() {
  return {cpu_name(), simd_target(), MISER_BUILD_TYPE, kAsserts, MISER_VERSION};
}

}  // namespace miser::eval
