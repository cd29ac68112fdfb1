#pragma once
#include <cstdint>
#include <cstring>

#include "gguf/half.h"

namespace miser::gguf {

/// A little-endian value at any alignment.
template <typename T>
T load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

inline float load_half(const void* from) {
  return half_to_float(load<std::uint16_t>(from));
}

}  // namespace miser::gguf
