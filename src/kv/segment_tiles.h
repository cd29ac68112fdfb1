#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kv/segment_side.h"
#include "kv/width.h"

namespace miser::kv {

/// Tiles hold the codes of several vectors in the order in which vector registers multiply them; the vectors
/// of a group that fill no tile are rows of codes (kv/codec.h). docs/cache-layout.md draws both.

/// Channels of a slab: a tile of head_dim 128 is two slabs of 64 channels, one after the other.
inline constexpr std::size_t kSlab = 64;
/// Bytes in which a plane keeps one bit field of each of 64 codes.
inline constexpr std::size_t kBlock = 64;

/// Vectors in a tile: keys lie 16 across the 32-bit lanes of a register, values four to a lane.
constexpr std::size_t tile_tokens(SideKind kind) {
  return kind == SideKind::kKeys ? 16 : 4;
}

/// How many vectors of a group of `count` lie in tiles: none at 16 bits or where head_dim is no multiple of
/// 64.
constexpr std::size_t tiled_vectors(SideKind kind, Width width, std::size_t head_dim, std::size_t count) {
  if (width == Width::k16 || head_dim % kSlab != 0) return 0;
  return count / tile_tokens(kind) * tile_tokens(kind);
}

/// 8 codes from the low bits of `word`, one to a byte. Each step halves the fields by moving their upper
/// part.
template <int kBits>
constexpr std::uint64_t spread_codes(std::uint64_t word) {
  if constexpr (kBits == 8) return word;
  constexpr std::uint64_t kCode = (1U << kBits) - 1;
  constexpr std::uint64_t kTwo = (1U << (2 * kBits)) - 1;
  constexpr std::uint64_t kFour = (1ULL << (4 * kBits)) - 1;
  word = (word | word << (32 - 4 * kBits)) & (kFour | kFour << 32);
  word = (word | word << (16 - 2 * kBits)) & (kTwo * 0x0001000100010001ULL);
  return (word | word << (8 - kBits)) & (kCode * 0x0101010101010101ULL);
}

/// n <= 8 bytes as a little-endian number.
template <std::size_t n>
std::uint64_t load_bytes(const std::byte* from) {
  if constexpr (n == 3 || n == 6) {  // one copy into a wider word goes through memory and stalls
    return load_bytes<n / 3 * 2>(from) | load_bytes<n / 3>(from + n / 3 * 2) << (n / 3 * 16);
  } else {
    std::uint64_t word = 0;
    std::memcpy(&word, from, n);
    return word;
  }
}

/// The next 8 codes of a row, one to a byte.
template <int kBits>
std::uint64_t load_codes(const std::byte* row) {
  return spread_codes<kBits>(load_bytes<kBits>(row));
}

/// The codes of one row, one to a byte: ceil(head_dim / 8) * 8 of them.
template <int kBits>
void spread_row(const std::byte* row, std::size_t head_dim, std::uint8_t* codes) {
  for (std::size_t i = 0; i < head_dim; i += 8, row += kBits) {
    const std::uint64_t word = load_codes<kBits>(row);
    std::memcpy(codes + i, &word, sizeof(word));
  }
}

/// Turns tile_tokens(kind) rows of codes into one tile, in place. REQUIRES: head_dim is a multiple of 64.
void tile_rows(SideKind kind, Width width, std::size_t head_dim, std::byte* rows);
/// The inverse.
void untile_rows(SideKind kind, Width width, std::size_t head_dim, std::byte* tile);

}  // namespace miser::kv
