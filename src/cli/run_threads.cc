#include "cli/run_threads.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>

namespace miser::cli {
namespace {

// Equal for hardware threads of one core: a list like "0,4".
std::string siblings(int cpu) {
  std::ifstream file(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
  std::string list;
  return std::getline(file, list) ? list : fmt::format("cpu{}", cpu);
}

}  // namespace

int physical_cores() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return 1;
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) cores.insert(siblings(cpu));
  }
  return std::max(1, static_cast<int>(cores.size()));
}

}  // namespace miser::cli
