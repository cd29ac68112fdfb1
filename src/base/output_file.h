#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace miser {

/// A file that appears under its name when it is complete: written beside it and renamed by commit(); without
/// commit() nothing is left and an older file stays. What exists and is no regular file is written in place.
class OutputFile {
 public:
  /// Throws Error "path: cannot create: reason".
  explicit OutputFile(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Throws Error "path: cannot write: reason".
  void write(std::span<const std::byte> bytes);
  /// Bytes written so far.
  std::uint64_t size() const { return size_; }
  /// Closes and renames. Throws Error like write().
  void commit();

 private:
  [[noreturn]] void fail(const char* what) const;

  std::string path_;
  std::string temporary_;  ///< empty when written in place
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace miser
