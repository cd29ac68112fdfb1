// Parses any bytes as a plan. What is neither read nor refused by Error is a defect: a crash, a hang, a
// sanitizer report, another exception, or an allocation past -malloc_limit_mb.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "base/error.h"
#include "gguf/file.h"
#include "policy/plan_file.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer names it
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const miser::policy::Plan plan = miser::policy::read_plan(miser::gguf::File::parse(bytes, "fuzz.gguf"));
    const std::size_t heads = plan.model.n_layers * plan.model.n_kv_heads;
    if (plan.mean_sensitivity.size() != 2 * heads || plan.ladder.empty()) std::abort();
    if (plan.linear && plan.linear->bias.size() != 2 * heads) std::abort();
    for (const float s : plan.mean_sensitivity) {
      if (!(s >= 0 && std::isfinite(s))) std::abort();
    }
  } catch (const miser::Error&) {
  }
  return 0;
}
