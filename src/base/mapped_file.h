#pragma once
#include <cstddef>
#include <span>
#include <string>

namespace miser {

/// A regular file mapped read-only for as long as the object lives. Pages come from disk on first touch.
class MappedFile {
 public:
  /// Throws Error when `path` is missing, unreadable or not a regular file. An empty file maps to an empty
  /// span.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace miser
