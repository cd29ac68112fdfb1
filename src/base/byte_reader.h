#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/byte_writer.h"
#include "base/error.h"

namespace miser {

/// Reads what a ByteWriter wrote, from bytes that nobody vouches for. Throws Error "name: field: found ...,
/// expected ..." instead of reading past the end. A view; the bytes and the name outlive it.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string_view name) : bytes_(bytes), name_(name) {}

  template <typename T>
  requires std::is_arithmetic_v<T> T get(std::string_view field) {
    T value;
    std::memcpy(&value, take(sizeof(T), field).data(), sizeof(T));
    return value;
  }
  /// A number of [least, most].
  template <typename T>
  T get_within(std::string_view field, std::type_identity_t<T> least, std::type_identity_t<T> most) {
    const T value = get<T>(field);
    if (!(value >= least && value <= most)) refuse(field, value, fmt::format("{} to {}", least, most));
    return value;
  }
  template <typename T>
  requires std::is_arithmetic_v<T>
  void get_all(std::string_view field, std::span<T> values) {
    const auto bytes = take(values.size_bytes(), field);
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  }
  std::string_view get_text(std::string_view field) {
    const auto bytes = take(get<std::uint32_t>(field), field);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  /// The next `n` bytes, in place.
  std::span<const std::byte> take(std::size_t n, std::string_view field) {
    if (n > bytes_.size()) refuse(field, fmt::format("{} bytes", bytes_.size()), fmt::format("{}", n));
    const auto taken = bytes_.first(n);
    bytes_ = bytes_.subspan(n);
    return taken;
  }

  std::size_t left() const { return bytes_.size(); }
  std::string_view name() const { return name_; }
  template <typename T>
  [[noreturn]] void refuse(std::string_view field, const T& found, std::string_view expected) const {
    fail("{}: {}: found {}, expected {}", name_, field, found, expected);
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view name_;
};

}  // namespace miser
