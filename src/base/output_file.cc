#include "base/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace miser {

OutputFile::OutputFile(const std::string& path) : path_(path) {
  constexpr mode_t kMode = 0666;  // as far as umask lets it
  struct stat status {};
  const bool in_place = stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
  if (!in_place) temporary_ = fmt::format("{}.part{}", path, getpid());
  const int flags = in_place ? O_WRONLY : O_WRONLY | O_CREAT | O_TRUNC;
  fd_ = open((in_place ? path_ : temporary_).c_str(), flags | O_CLOEXEC, kMode);
  if (fd_ >= 0) return;
  temporary_.clear();
  fail("create");
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) close(fd_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write");
    size_ += static_cast<std::uint64_t>(written);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void OutputFile::commit() {
  if (close(std::exchange(fd_, -1)) != 0) fail("write");  // some disks report that they are full only now
  if (temporary_.empty()) return;
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail("create");
  temporary_.clear();
}

void OutputFile::fail(const char* what) const {
  miser::fail("{}: cannot {}: {}", path_, what, std::generic_category().message(errno));
}

}  // namespace miser
