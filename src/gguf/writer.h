#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"
#include "gguf/tensor_type.h"

namespace miser::gguf {

/// Writes a GGUF v3 file (docs/gguf.md): metadata and tensors in the order in which they are added.
class Writer {
 public:
  /// Writes the next blocks of a tensor; called in order with runs of whole blocks until all are there.
  using Fill = std::function<void(std::span<std::byte> blocks)>;

  /// Adds one metadata entry; `value` is copied. REQUIRES: a key that is new.
  void add(std::string_view key, const Value& value);
  void add_strings(std::string_view key, std::span<const std::string> values);
  void add_ints(std::string_view key, std::span<const std::int32_t> values);

  /// Adds a tensor whose bytes `fill` makes when write() gets there, so that they never lie in memory at
  /// once. `shape` in GGUF order: shape[0] is the row length. REQUIRES: shape[0] is a multiple of the
  /// format's block.
  void add_tensor(std::string_view name, std::span<const std::uint64_t> shape, TensorType type, Fill fill);
  /// Adds a tensor of floats, copied. REQUIRES: as many values as the shape says.
  void add_floats(std::string_view name, std::span<const std::uint64_t> shape, std::span<const float> values);

  /// Writes everything. `path` appears when it is complete: nothing is left behind when the disk is full and
  /// an older file stays as it was. What is no regular file (a pipe, /dev/full) is written in place. Throws
  /// Error that names the path and the system's reason.
  void write(const std::string& path) const;

 private:
  struct Source {
    std::uint64_t bytes;
    std::size_t block_bytes;
    Fill fill;
  };

  void add_key(std::string_view key, std::uint32_t type);
  template <typename T>
  static void put(std::vector<std::byte>& to, T value);
  static void put_string(std::vector<std::byte>& to, std::string_view text);

  std::vector<std::byte> entries_;
  std::uint64_t n_entries_ = 0;
  std::vector<std::byte> infos_;
  std::uint64_t offset_ = 0;  ///< where the next tensor's data begin, from the start of the data section
  std::vector<Source> sources_;
};

}  // namespace miser::gguf
