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

constexpr std::size_t n_chunks(SideKind kind) {
  return kind == SideKind::kKeys ? 16 : 4;
}

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

/// The inverse.
void scatter_slots(SideKind kind, const Slots& slots, std::size_t head_dim, std::uint8_t* codes) {
  if (kind == SideKind::kKeys) {
    for (std::size_t token = 0; token < 16; ++token) {
      for (std::size_t chunk = 0; chunk < 16; ++chunk) {
        std::memcpy(codes + token * head_dim + 4 * chunk, &slots[chunk * kBlock + 4 * token], 4);
      }
    }
    return;
  }
  for (std::size_t token = 0; token < 4; ++token) {
    for (std::size_t d = 0; d < kSlab; ++d) codes[token * head_dim + d] = slots[4 * d + token];
  }
}

/// Packs the field of `bits` bits at `shift` of every code: chunk i of a block takes bits [i bits, (i + 1)
/// bits) of its bytes. Returns where the next plane begins.
std::byte* pack_plane(const Slots& slots, std::size_t n, int shift, int bits, std::byte* out) {
  const auto mask = static_cast<std::uint8_t>((1U << bits) - 1);
  const std::size_t per_block = 8U / static_cast<unsigned>(bits);
  for (std::size_t block = 0; block < n / per_block; ++block) {
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

/// The inverse of pack_plane: adds the field to the slots. Returns where the next plane begins.
const std::byte* unpack_plane(const std::byte* in, std::size_t n, int shift, int bits, Slots& slots) {
  const auto mask = static_cast<std::uint8_t>((1U << bits) - 1);
  const std::size_t per_block = 8U / static_cast<unsigned>(bits);
  for (std::size_t block = 0; block < n / per_block; ++block) {
    for (std::size_t i = 0; i < per_block; ++i) {
      std::uint8_t* const chunk = slots.data() + (block * per_block + i) * kBlock;
      for (std::size_t s = 0; s < kBlock; ++s) {
        const auto code = std::to_integer<std::uint8_t>(in[s] >> (i * bits)) & mask;
        chunk[s] |= static_cast<std::uint8_t>(code << shift);
      }
    }
    in += kBlock;
  }
  return in;
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

/// The inverse of pack_half_plane.
const std::byte* unpack_half_plane(const std::byte* in, int shift, Slots& slots) {
  constexpr std::size_t kHalf = kBlock / 2;
  for (std::size_t bit = 0; bit < 8; ++bit) {
    std::uint8_t* const half = slots.data() + bit % 4 * kBlock + bit / 4 * kHalf;
    for (std::size_t s = 0; s < kHalf; ++s) {
      half[s] |= static_cast<std::uint8_t>((std::to_integer<unsigned>(in[s]) >> bit & 1U) << shift);
    }
  }
  return in + kHalf;
}

/// The planes of a width.
struct Planes {
  int low;     ///< bits of the plane of several bits; 0: none
  int one_at;  ///< shift of the plane of one bit; -1: none
};

Planes planes_of(Width width) {
  if (width == Width::k1) return {0, 0};
  if (width == Width::k3) return {2, 2};
  return {bits(width), -1};
}

std::byte* pack_slab(SideKind kind, Width width, const Slots& slots, std::byte* out) {
  const Planes planes = planes_of(width);
  if (planes.low > 0) out = pack_plane(slots, n_chunks(kind), 0, planes.low, out);
  if (planes.one_at < 0) return out;
  return kind == SideKind::kKeys ? pack_plane(slots, n_chunks(kind), planes.one_at, 1, out)
                                 : pack_half_plane(slots, planes.one_at, out);
}

const std::byte* unpack_slab(SideKind kind, Width width, const std::byte* in, Slots& slots) {
  const Planes planes = planes_of(width);
  slots.fill(0);
  if (planes.low > 0) in = unpack_plane(in, n_chunks(kind), 0, planes.low, slots);
  if (planes.one_at < 0) return in;
  return kind == SideKind::kKeys ? unpack_plane(in, n_chunks(kind), planes.one_at, 1, slots)
                                 : unpack_half_plane(in, planes.one_at, slots);
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

/// The inverse of spread(): head_dim is a multiple of 8, so whole groups of 8 codes fill whole bytes.
void gather_row(Width width, const std::uint8_t* codes, std::size_t head_dim, std::byte* row) {
  const auto n_bits = static_cast<std::size_t>(bits(width));
  for (std::size_t i = 0; i < head_dim; i += 8, row += n_bits) {
    std::uint64_t word = 0;
    for (std::size_t c = 0; c < 8; ++c) word |= std::uint64_t{codes[i + c]} << (c * n_bits);
    std::memcpy(row, &word, n_bits);
  }
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

void untile_rows(SideKind kind, Width width, std::size_t head_dim, std::byte* tile) {
  assert(head_dim % kSlab == 0);
  const std::size_t n = tile_tokens(kind);
  std::vector<std::uint8_t> codes(n * head_dim);
  Slots slots;
  const std::byte* slab = tile;
  for (std::size_t channel = 0; channel < head_dim; channel += kSlab) {
    slab = unpack_slab(kind, width, slab, slots);
    scatter_slots(kind, slots, head_dim, codes.data() + channel);
  }
  for (std::size_t t = 0; t < n; ++t) {
    gather_row(width, codes.data() + t * head_dim, head_dim, tile + t * payload_bytes(width, head_dim));
  }
}

}  // namespace miser::kv
