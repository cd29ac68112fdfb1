#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace miser::gguf {

// Metadata value types by their numbers in the file, which are also the indices of gguf::Value.
inline constexpr std::uint32_t kString = 8;
inline constexpr std::uint32_t kArray = 9;
inline constexpr std::string_view kValueTypeNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                       "bool", "string", "array", "u64", "i64", "f64"};

/// Calls `f` with std::type_identity<T> of a value type of fixed size; returns false when `type` is none.
template <typename F>
bool visit_scalar_type(std::uint32_t type, F&& f) {
  switch (type) {
    case 0:
      f(std::type_identity<std::uint8_t>{});
      return true;
    case 1:
      f(std::type_identity<std::int8_t>{});
      return true;
    case 2:
      f(std::type_identity<std::uint16_t>{});
      return true;
    case 3:
      f(std::type_identity<std::int16_t>{});
      return true;
    case 4:
      f(std::type_identity<std::uint32_t>{});
      return true;
    case 5:
      f(std::type_identity<std::int32_t>{});
      return true;
    case 6:
      f(std::type_identity<float>{});
      return true;
    case 7:
      f(std::type_identity<bool>{});
      return true;
    case 10:
      f(std::type_identity<std::uint64_t>{});
      return true;
    case 11:
      f(std::type_identity<std::int64_t>{});
      return true;
    case 12:
      f(std::type_identity<double>{});
      return true;
    default:
      return false;
  }
}

}  // namespace miser::gguf
