#include "nn/tiles.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/divide_up.h"

namespace miser::nn {
namespace {

constexpr std::size_t kHalf = sizeof(std::uint16_t);

/// The low nibbles of 8 bytes, first byte in the lowest nibble.
std::uint32_t gather_nibbles(std::uint64_t bytes) {
  bytes &= 0x0F0F0F0F0F0F0F0FU;
  bytes = (bytes | bytes >> 4) & 0x00FF00FF00FF00FFU;
  bytes = (bytes | bytes >> 8) & 0x0000FFFF0000FFFFU;
  return static_cast<std::uint32_t>(bytes | bytes >> 16);
}

/// Places the block `from` of a file in lane `row` of the tile block `to`. Byte i of 4-bit codes holds
/// columns i (low nibble) and i + 16; `n_halves` scales (and minimums) come first.
void place_q4(const std::byte* from, std::byte* to, std::size_t row, std::size_t n_halves) {
  for (std::size_t i = 0; i < n_halves; ++i) {
    std::memcpy(to + (i * kTileRows + row) * kHalf, from + i * kHalf, kHalf);
  }
  std::uint64_t codes[2];
  std::memcpy(codes, from + n_halves * kHalf, sizeof(codes));
  const std::uint32_t groups[4] = {gather_nibbles(codes[0]), gather_nibbles(codes[1]),
                                   gather_nibbles(codes[0] >> 4), gather_nibbles(codes[1] >> 4)};
  std::byte* const to_codes = to + n_halves * kTileRows * kHalf;
  for (std::size_t g = 0; g < 4; ++g) {
    std::memcpy(to_codes + (g * kTileRows + row) * sizeof(groups[g]), &groups[g], sizeof(groups[g]));
  }
}

void place_q8(const std::byte* from, std::byte* to, std::size_t row) {
  std::memcpy(to + row * kHalf, from, kHalf);
  std::byte* const codes = to + kTileRows * kHalf;
  for (std::size_t pair = 0; pair < kPairs; ++pair) {
    const std::byte* const first = from + kHalf + first_column(pair);
    codes[(pair * kTileRows + row) * 2] = first[0];
    codes[(pair * kTileRows + row) * 2 + 1] = first[kPairDistance];
  }
}

void place_block(TileKind kind, const std::byte* from, std::byte* to, std::size_t row) {
  switch (kind) {
    case TileKind::kQ4_0:
      return place_q4(from, to, row, 1);
    case TileKind::kQ4_1:
      return place_q4(from, to, row, 2);
    case TileKind::kQ8_0:
      return place_q8(from, to, row);
    case TileKind::kF16:
      std::memcpy(to + row * kHalf, from, kHalf);
      return;
    case TileKind::kNone:
      break;
  }
}

}  // namespace

TileKind tile_kind(gguf::TensorType type) {
  switch (type) {
    case gguf::TensorType::kQ4_0:
      return TileKind::kQ4_0;
    case gguf::TensorType::kQ4_1:
      return TileKind::kQ4_1;
    case gguf::TensorType::kQ8_0:
      return TileKind::kQ8_0;
    case gguf::TensorType::kF16:
      return TileKind::kF16;
    default:
      return TileKind::kNone;
  }
}

AlignedBytes repack(const gguf::TensorFormat& format, const std::byte* data, std::size_t rows,
                    std::size_t cols) {
  const TileKind kind = tile_kind(format.type);
  const std::size_t n_tiles = divide_up(rows, kTileRows);
  const std::size_t bytes = n_tiles * tile_bytes(kind, cols);
  constexpr std::size_t kAlignment = 64;  // a cache line and the widest vector
  AlignedBytes tiles(
      static_cast<std::byte*>(std::aligned_alloc(kAlignment, divide_up(bytes, kAlignment) * kAlignment)));
  if (!tiles) throw std::bad_alloc();

  const std::size_t row_blocks = cols / block_columns(kind);
  if (rows % kTileRows != 0) {
    const std::size_t last = bytes - tile_bytes(kind, cols);
    std::fill(tiles.get() + last, tiles.get() + bytes, std::byte{0});
  }
  for (std::size_t row = 0; row < rows; ++row) {
    const std::byte* from = data + row * row_blocks * format.block_bytes;
    std::byte* to = tiles.get() + row / kTileRows * tile_bytes(kind, cols);
    for (std::size_t block = 0; block < row_blocks; ++block) {
      place_block(kind, from + block * format.block_bytes, to + block * block_bytes(kind), row % kTileRows);
    }
  }
  return tiles;
}

}  // namespace miser::nn
