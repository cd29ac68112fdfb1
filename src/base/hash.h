#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace miser {

/// A 64-bit hash against accidents, not attacks: FNV-1a over words of 8 bytes, the last one of a call filled
/// up with zeros.
class Hash {
 public:
  void add(std::span<const std::byte> bytes) {
    constexpr std::uint64_t kPrime = 0x100000001b3;
    for (std::size_t i = 0; i < bytes.size(); i += sizeof(value_)) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + i, std::min(sizeof(word), bytes.size() - i));
      value_ = (value_ ^ word) * kPrime;
      value_ ^= value_ >> 32U;  // words differ in their high bits too, which multiplication only carries up
    }
  }
  void add(std::uint64_t number) { add(std::as_bytes(std::span(&number, 1))); }
  /// Numbers, and how many there are.
  template <typename T>
  void add_all(std::span<T> numbers) {
    add(numbers.size());
    add(std::as_bytes(numbers));
  }
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325;
};

}  // namespace miser
