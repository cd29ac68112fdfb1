#pragma once
#include <chrono>
#include <functional>

namespace miser::eval {

/// Seconds since some fixed moment; tests put their own in its place.
using Clock = std::function<double()>;

inline double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace miser::eval
