#pragma once
#include <atomic>

namespace miser::cli {

/// While it lives, Ctrl-C sets flag() instead of ending the process. A second one that finds the flag still
/// set ends it at once with 130, so that a long prefill can be left too. One at a time.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  static const std::atomic<bool>& flag();
  /// Returns the flag and clears it.
  static bool take();
  /// Ends the process as Ctrl-C does where nobody catches it, so that a calling shell sees why.
  [[noreturn]] static void exit_by_signal();
};

}  // namespace miser::cli
