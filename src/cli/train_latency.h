#pragma once
#include <array>
#include <string>

namespace miser::cli {

/// Seconds per decoded token under q2, q4, q8 and f16 at the greatest depth that all of them have, over the
/// largest of them, from the output of `miser bench --json`. Throws Error naming the file and what is
/// missing.
std::array<double, 4> read_latencies(const std::string& path);

}  // namespace miser::cli
