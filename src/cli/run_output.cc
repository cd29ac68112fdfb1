#include "cli/run_output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/output_file.h"

namespace miser::cli {

void require_writable(const std::string& path) {
  const OutputFile probe(path);
}

void require_standard_output() {
  if (fcntl(STDOUT_FILENO, F_GETFD) == -1) fail("standard output is closed");
  for (const int descriptor : {STDIN_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) == -1 && open("/dev/null", O_RDWR) != descriptor) {
      fail("/dev/null cannot be opened: {}", std::strerror(errno));
    }
  }
}

void write_output(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0) fail("standard output: {}", std::strerror(errno));
}

void note(const std::string& text) {
  std::fputs(text.c_str(), stderr);
}

void show_status(std::string_view text) {
  if (isatty(STDERR_FILENO) != 0) note(fmt::format("\r\033[K{}", text));
}

}  // namespace miser::cli
