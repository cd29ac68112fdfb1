#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "gguf/tensor_type.h"

namespace miser::nn {

// Tiles: how weights lie in memory for the row kernels. A tile holds 16 rows side by side, so that one vector
// holds one column of 16 rows, x is broadcast and no sum runs across lanes. A tile is a run of blocks, one
// per `columns` columns; a block holds, row r of the tile in lane r:
//
//   kQ4_0   32 columns: half d[16], uint32 codes[4][16]; w = d (q - 8), and nibble i of codes[g][r] is q of
//           column 8 g + i of row r
//   kQ4_1   32 columns: half d[16], half m[16], uint32 codes[4][16] likewise; w = d q + m
//   kQ8_0   32 columns: half d[16], int8 codes[16][16][2]; w = d q, and codes[p][r] are the columns of pair p
//   kF16    1 column: half w[16]
//
// Rows after the last are zero. Integer products take columns in pairs: columns 8 g + i and 8 g + 4 + i are
// pair 4 g + i, i < 4, so that a mask of nibbles leaves pairs of 16 bits.
enum class TileKind : std::uint8_t { kNone, kQ4_0, kQ4_1, kQ8_0, kF16 };

inline constexpr std::size_t kTileRows = 16;
inline constexpr std::size_t kQuantColumns = 32;
inline constexpr std::size_t kPairs = kQuantColumns / 2;
inline constexpr std::size_t kPairDistance = 4;  ///< columns between the two of a pair

/// The first column of pair `pair` of a block.
constexpr std::size_t first_column(std::size_t pair) {
  return pair + pair / kPairDistance * kPairDistance;
}

/// kNone for formats without a row kernel.
TileKind tile_kind(gguf::TensorType type);

constexpr std::size_t block_columns(TileKind kind) {
  return kind == TileKind::kF16 ? 1 : kQuantColumns;
}

/// Bytes of one block; 0 for kNone.
constexpr std::size_t block_bytes(TileKind kind) {
  constexpr std::size_t kHalves = kTileRows * sizeof(std::uint16_t);
  switch (kind) {
    case TileKind::kQ4_0:
      return kHalves + kTileRows * kQuantColumns / 2;
    case TileKind::kQ4_1:
      return 2 * kHalves + kTileRows * kQuantColumns / 2;
    case TileKind::kQ8_0:
      return kHalves + kTileRows * kQuantColumns;
    case TileKind::kF16:
      return kHalves;
    case TileKind::kNone:
      break;
  }
  return 0;
}

/// Bytes of one tile of `cols` columns.
constexpr std::size_t tile_bytes(TileKind kind, std::size_t cols) {
  return cols / block_columns(kind) * block_bytes(kind);
}

struct FreeDeleter {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};
using AlignedBytes = std::unique_ptr<std::byte[], FreeDeleter>;

/// Repacks row-major `rows` of a format with a tile kind into ceil(rows / 16) tiles, aligned to 64 bytes.
AlignedBytes repack(const gguf::TensorFormat& format, const std::byte* data, std::size_t rows,
                    std::size_t cols);

}  // namespace miser::nn
