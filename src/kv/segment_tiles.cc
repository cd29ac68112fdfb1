#include "kv/segment_tiles.h"

#include <algorithm>
#include <cassert>
#include <vector>

#include "kv/codec.h"

namespace miser::kv {
namespace {

/// Codes of one slab of a tile, one to a byte: keys [16 chunks of 4 channels][16 tokens][4 channels], values
/// [4 chunks of 16 channels][16 channels][4 tokens].
using Slots = std::array<std::uint8_t, 16 * kBlock>;

/// `codes` [tile_tokens, head_dim], from the first channel of the slab on.
void gather_slots(SideKind kind, const std::uint8_t* codes, std::size_t head_dim, Slots& slots) {
  if (kind == SideKind::kKeys) {
    for (std::size_t token = 0; token < 16; ++token) {
      for (std::size_t chunk = 0; chunk < 16; ++chunk) {
        std::memcpy(&slots[chunk * kBlock + 4 * token], codes + token * head_dim + 4 * chunk, 4);
      }
    }
    return;
  }
  for (std::size_t token = 0; token < 4; ++token) {
    for (std::size_t d = 0; d < kSlab; ++d) slots[4 * d + token] = codes[token * head_dim + d];
  }
}

/// Packs the field of `bits` bits at `shift` of every code: chunk i of a block takes bits [i bits, (i + 1)
/// bits) of its bytes. Returns where the next plane begins.
std::byte* pack_plane(const Slots& slots, std::size_t n_chunks, int shift, int bits, std::byte* out) {
  const auto mask = static_cast<std::uint8_t>((1U << bits) - 1);
  const std::size_t per_block = 8U / static_cast<unsigned>(bits);
  for (std::size_t block = 0; block < n_chunks / per_block; ++block) {
    std::array<std::uint8_t, kBlock> bytes{};
    for (std::size_t i = 0; i < per_block; ++i) {
      const std::uint8_t* const chunk = slots.data() + (block * per_block + i) * kBlock;
      for (std::size_t s = 0; s < kBlock; ++s) {
        bytes[s] |= static_cast<std::uint8_t>(((chunk[s] >> shift) & mask) << (i * bits));
      }
    }
    std::memcpy(out, bytes.data(), kBlock);
    out += kBlock;
  }
  return out;
}

/// A bit plane of values has 4 chunks, half a block: slot s + 32 h of chunk c is bit c + 4 h of byte s.
std::byte* pack_half_plane(const Slots& slots, int shift, std::byte* out) {
  constexpr std::size_t kHalf = kBlock / 2;
  std::array<std::uint8_t, kHalf> bytes{};
  for (std::size_t bit = 0; bit < 8; ++bit) {
    const std::uint8_t* const half = slots.data() + bit % 4 * kBlock + bit / 4 * kHalf;
    for (std::size_t s = 0; s < kHalf; ++s)
      bytes[s] |= static_cast<std::uint8_t>(((half[s] >> shift) & 1U) << bit);
  }
  std::memcpy(out, bytes.data(), kHalf);
  return out + kHalf;
}

/// 3 bits are a plane of the two lower bits and one of the upper bit.
std::byte* pack_slab(SideKind kind, Width width, const Slots& slots, std::byte* out) {
  const bool keys = kind == SideKind::kKeys;
  const std::size_t n_chunks = keys ? 16 : 4;
  const int n_bits = bits(width);
  const int low = n_bits == 3 ? 2 : n_bits;
  if (low > 1) out = pack_plane(slots, n_chunks, 0, low, out);
  if (low > 1 && low == n_bits) return out;
  const int shift = low > 1 ? low : 0;
  return keys ? pack_plane(slots, n_chunks, shift, 1, out) : pack_half_plane(slots, shift, out);
}

void spread(Width width, const std::byte* row, std::size_t head_dim, std::uint8_t* codes) {
  switch (width) {
    case Width::k1:
      return spread_row<1>(row, head_dim, codes);
    case Width::k2:
      return spread_row<2>(row, head_dim, codes);
    case Width::k3:
      return spread_row<3>(row, head_dim, codes);
    case Width::k4:
      return spread_row<4>(row, head_dim, codes);
    case Width::k8:
      return spread_row<8>(row, head_dim, codes);
    case Width::k16:
      break;
  }
  assert(false);
}

}  // namespace

void tile_rows(SideKind kind, Width width, std::size_t head_dim, std::byte* rows) {
  assert(head_dim % kSlab == 0);
  const std::size_t n = tile_tokens(kind);
  std::vector<std::uint8_t> codes(n * head_dim);
  for (std::size_t t = 0; t < n; ++t) {
    spread(width, rows + t * payload_bytes(width, head_dim), head_dim, codes.data() + t * head_dim);
  }
  Slots slots;
  for (std::size_t channel = 0; channel < head_dim; channel += kSlab) {
    gather_slots(kind, codes.data() + channel, head_dim, slots);
    rows = pack_slab(kind, width, slots, rows);
  }
}

}  // namespace miser::kv
