#pragma once

namespace miser::cli {

/// Physical cores among the CPUs that this process may run on (sched_getaffinity); CPUs whose topology is
/// unknown count as one core each. At least 1.
int physical_cores();

}  // namespace miser::cli
