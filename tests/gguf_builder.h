#pragma once
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "gguf/tensor_type.h"

namespace miser::test {

template <typename T>
concept Scalar = std::is_arithmetic_v<T>;

/// Appends little-endian values (the host's order; Miser runs on little-endian machines only).
class ByteWriter {
 public:
  template <Scalar T>
  ByteWriter& put(T value) {
    const auto* first = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), first, first + sizeof(T));
    return *this;
  }
  ByteWriter& put_bytes(std::span<const std::byte> data) {
    bytes_.insert(bytes_.end(), data.begin(), data.end());
    return *this;
  }
  /// A GGUF string: 64-bit length, then the bytes.
  ByteWriter& put_string(std::string_view text) {
    put<std::uint64_t>(text.size());
    return put_bytes(std::as_bytes(std::span(text)));
  }
  /// Zeros up to the next multiple of `alignment`.
  ByteWriter& pad(std::size_t alignment) {
    while (bytes_.size() % alignment != 0) bytes_.push_back(std::byte{0});
    return *this;
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

/// GGUF value type number of a C++ type.
template <typename T>
constexpr std::uint32_t value_type() {
  if constexpr (std::same_as<T, std::uint8_t>) return 0;
  if constexpr (std::same_as<T, std::int8_t>) return 1;
  if constexpr (std::same_as<T, std::uint16_t>) return 2;
  if constexpr (std::same_as<T, std::int16_t>) return 3;
  if constexpr (std::same_as<T, std::uint32_t>) return 4;
  if constexpr (std::same_as<T, std::int32_t>) return 5;
  if constexpr (std::same_as<T, float>) return 6;
  if constexpr (std::same_as<T, bool>) return 7;
  if constexpr (std::convertible_to<T, std::string_view>) return 8;
  if constexpr (std::same_as<T, std::uint64_t>) return 10;
  if constexpr (std::same_as<T, std::int64_t>) return 11;
  if constexpr (std::same_as<T, double>) return 12;
}

/// Builds a GGUF file in memory:
///   const auto bytes = GgufBuilder().set("general.architecture", "llama").set("llama.block_count", 2u)
///                          .set_array<float>("x", {1, 2}).tensor("w", {4, 2}, TensorType::kF32,
///                          data).bytes();
///   const auto file = gguf::File::parse(bytes, "test.gguf");   // `bytes` must outlive `file`
/// Nothing is checked, so that hostile files can be built too.
class GgufBuilder {
 public:
  explicit GgufBuilder(std::uint32_t version = 3) : version_(version) {}

  template <Scalar T>
  GgufBuilder& set(std::string_view key, T value) {
    entry(key, value_type<T>()).put(value);
    return *this;
  }
  GgufBuilder& set(std::string_view key, std::string_view value) {
    entry(key, value_type<std::string_view>()).put_string(value);
    return *this;
  }
  GgufBuilder& set(std::string_view key, const char* value) { return set(key, std::string_view(value)); }

  template <typename T>
  GgufBuilder& set_array(std::string_view key, const std::vector<T>& values) {
    ByteWriter& out = entry(key, 9);
    out.put(value_type<T>()).template put<std::uint64_t>(values.size());
    for (const T& value : values) {
      if constexpr (Scalar<T>) {
        out.put(value);
      } else {
        out.put_string(value);
      }
    }
    return *this;
  }

  /// A value of any type number, its bytes given.
  GgufBuilder& set_raw(std::string_view key, std::uint32_t type, std::span<const std::byte> value) {
    entry(key, type).put_bytes(value);
    return *this;
  }

  /// Writes the key `general.alignment` and lays the tensors out by it.
  GgufBuilder& alignment(std::uint32_t alignment) {
    alignment_ = alignment;
    return set("general.alignment", alignment);
  }

  /// `shape` in GGUF order, row length first. Without `offset` the data follow the last tensor's, aligned.
  GgufBuilder& tensor(std::string_view name, const std::vector<std::uint64_t>& shape, gguf::TensorType type,
                      std::span<const std::byte> data, std::optional<std::uint64_t> offset = {}) {
    data_.pad(alignment_);
    infos_.put_string(name).put(static_cast<std::uint32_t>(shape.size()));
    for (const std::uint64_t dimension : shape) infos_.put(dimension);
    infos_.put(static_cast<std::uint32_t>(type)).put(offset.value_or(data_.bytes().size()));
    data_.put_bytes(data);
    ++n_tensors_;
    return *this;
  }
  GgufBuilder& tensor(std::string_view name, const std::vector<std::uint64_t>& shape,
                      std::span<const float> values, std::optional<std::uint64_t> offset = {}) {
    return tensor(name, shape, gguf::TensorType::kF32, std::as_bytes(values), offset);
  }

  /// Counts to write in place of the true ones.
  GgufBuilder& claim_counts(std::uint64_t n_tensors, std::uint64_t n_entries) {
    claimed_ = {n_tensors, n_entries};
    return *this;
  }

  std::vector<std::byte> bytes() const {
    ByteWriter out;
    const auto [n_tensors, n_entries] = claimed_.value_or(std::pair{n_tensors_, n_entries_});
    out.put_bytes(std::as_bytes(std::span("GGUF", 4))).put(version_).put(n_tensors).put(n_entries);
    out.put_bytes(entries_.bytes()).put_bytes(infos_.bytes());
    if (n_tensors_ > 0) out.pad(alignment_).put_bytes(data_.bytes());
    return out.bytes();
  }

 private:
  ByteWriter& entry(std::string_view key, std::uint32_t type) {
    ++n_entries_;
    return entries_.put_string(key).put(type);
  }

  std::uint32_t version_;
  std::uint32_t alignment_ = 32;
  std::uint64_t n_tensors_ = 0;
  std::uint64_t n_entries_ = 0;
  std::optional<std::pair<std::uint64_t, std::uint64_t>> claimed_;
  ByteWriter entries_;
  ByteWriter infos_;
  ByteWriter data_;
};

}  // namespace miser::test
