#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "gguf/file.h"

namespace miser::gguf {

/// Reads a file from front to back: header, metadata, tensor table; then places the tensors' data.
/// REQUIRES: `bytes` outlive the File.
class Parser {
 public:
  Parser(std::span<const std::byte> bytes, std::string name);
  File parse();

 private:
  /// Throws Error "file: what is being read: `what`".
  [[noreturn]] void fail(const std::string& what) const;

  std::uint64_t remaining() const { return bytes_.size() - at_; }
  /// The next `size` bytes; `what` names them when they are not there.
  std::span<const std::byte> take(std::uint64_t size, std::string_view what);
  template <typename T>
  T read(std::string_view what);
  std::string_view read_string(std::string_view what);
  std::string_view read_name(std::string_view what);

  void read_header();
  void read_entry();
  Value read_value(std::uint32_t type);
  Array read_array();
  void read_alignment();
  void read_tensor_info();
  std::uint64_t tensor_bytes(const Tensor& tensor) const;
  void place_tensors();
  void check_overlaps() const;

  struct Place {
    std::uint64_t offset;  ///< from the start of the data section
    std::uint64_t bytes;
  };

  std::span<const std::byte> bytes_;
  std::uint64_t at_ = 0;
  std::uint64_t n_tensors_ = 0;
  std::uint64_t n_entries_ = 0;
  std::string reading_;  ///< what is being read, for messages: "key general.name"
  std::vector<Place> places_;
  std::unordered_set<std::string_view> tensor_names_;
  File file_;
};

}  // namespace miser::gguf
