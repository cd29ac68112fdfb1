#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace miser {

static_assert(std::endian::native == std::endian::little, "files hold numbers as memory does");

/// Numbers one after the other in memory, little-endian, without gaps. ByteReader reads them back.
class ByteWriter {
 public:
  template <typename T>
  requires std::is_arithmetic_v<T>
  void put(T value) { put_bytes(std::as_bytes(std::span(&value, 1))); }
  /// The numbers alone: the reader must know how many.
  template <typename T>
  requires std::is_arithmetic_v<T>
  void put_all(std::span<const T> values) { put_bytes(std::as_bytes(values)); }
  /// A length of 32 bits and the bytes.
  void put_text(std::string_view text) {
    put(static_cast<std::uint32_t>(text.size()));
    put_all(std::span(text));
  }
  void put_bytes(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace miser
