#pragma once
#include <chrono>
#include <cstddef>
#include <string>

namespace miser::eval {

/// A bar on standard error with the time left, for long loops; nothing when that is no terminal. The line is
/// removed when the object dies.
class Progress {
 public:
  /// `done` of `total` steps were made before, e.g. by a run that is resumed: they say nothing about speed.
  Progress(std::string label, std::size_t total, std::size_t done = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` steps are made, those before included.
  void update(std::size_t done);

 private:
  using Clock = std::chrono::steady_clock;

  std::string label_;
  std::size_t total_;
  std::size_t first_;
  bool shown_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_drawn_;
};

/// The line that is shown: label, bar, per cent, time left. `seconds` went into the steps from `first` to
/// `done`; no time is given before there is one.
std::string progress_line(const std::string& label, std::size_t first, std::size_t done, std::size_t total,
                          double seconds);

}  // namespace miser::eval
