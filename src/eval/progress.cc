#include "eval/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace miser::eval {
namespace {

constexpr std::size_t kBarWidth = 24;
constexpr std::chrono::milliseconds kRedraw{100};

std::string clock_text(double seconds) {
  const auto all = static_cast<long>(std::lround(seconds));
  if (all < 3600) return fmt::format("{}:{:02}", all / 60, all % 60);
  return fmt::format("{}:{:02}:{:02}", all / 3600, all / 60 % 60, all % 60);
}

}  // namespace

std::string progress_line(const std::string& label, std::size_t first, std::size_t done, std::size_t total,
                          double seconds) {
  const double share = total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
  const auto filled = std::min(kBarWidth, static_cast<std::size_t>(share * kBarWidth));
  std::string line = fmt::format("{} [{}{}] {:3.0f} %", label, std::string(filled, '#'),
                                 std::string(kBarWidth - filled, '.'), 100 * share);
  if (done > first && done < total) {
    const double left = seconds / static_cast<double>(done - first) * static_cast<double>(total - done);
    line += fmt::format("  {} left", clock_text(left));
  }
  return line;
}

Progress::Progress(std::string label, std::size_t total, std::size_t done)
    : label_(std::move(label)), total_(total), first_(done), shown_(isatty(STDERR_FILENO) != 0) {
  update(done);
}

Progress::~Progress() {
  if (shown_) std::fputs("\r\033[K", stderr);
}

void Progress::update(std::size_t done) {
  if (!shown_) return;
  const auto now = Clock::now();
  if (now - last_drawn_ < kRedraw) return;
  last_drawn_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const std::string line = progress_line(label_, first_, done, total_, seconds);
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
}

}  // namespace miser::eval
