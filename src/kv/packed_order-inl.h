// From the order of groups to that of tokens and back, and the scales. Included once per Highway target.
#if defined(MISER_KV_PACKED_ORDER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MISER_KV_PACKED_ORDER_INL_H_
#undef MISER_KV_PACKED_ORDER_INL_H_
#else
#define MISER_KV_PACKED_ORDER_INL_H_
#endif

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kv/packed_codes-inl.h"
#include "kv/packed_groups.h"

MISER_BEFORE_NAMESPACE();
namespace miser::kv::HWY_NAMESPACE {

/// Tokens of a segment, and room for what is read in blocks of 64.
constexpr std::size_t kRoom = Segment::kMaxTokens + 64;

/// Scales of all vectors in the order of the groups, divided by the gain of their width, and c * scale^2.
/// Those of 16 bits are 0.
struct GroupScales {
  GroupScales(const Groups& groups, ScaleRule rule) {
    for (const Width width : groups.present()) {
      const auto w = static_cast<std::size_t>(width);
      const std::size_t first = groups.first[w];
      std::array<std::uint16_t, kRoom> halves;
      if (width == Width::k16) {
        halves.fill(0);
      } else {
        std::memcpy(halves.data(), groups.scales(width), groups.count[w] * sizeof(std::uint16_t));
      }
      const float gain = level_gain(width);
      const F32 d;
      const auto inverse = hn::Set(d, 1 / gain);
      const auto c = hn::Set(d, score_correction(width, rule));
      for (std::size_t i = 0; i < groups.count[w]; i += hn::Lanes(d)) {
        const auto s = nn::HWY_NAMESPACE::load_half(d, halves.data() + i);
        hn::StoreU(hn::Mul(s, inverse), d, scale.data() + first + i);
        hn::StoreU(hn::Mul(hn::Mul(c, s), s), d, correction.data() + first + i);
      }
    }
  }

  alignas(64) std::array<float, kRoom> scale;
  alignas(64) std::array<float, kRoom> correction;
};

// `to_token_order`: out [kRows, ld_out] in token order from `in` [kRows, ld_in] in the order of the groups.
// `to_group_order` is its inverse, of weights: floats, out [kRows, kRoom]; or 16-bit numbers where they are
// compressed 32 at a time. Both read and write whole registers.
#if HWY_TARGET == HWY_AVX3_DL

template <std::size_t kRows>
HWY_INLINE void to_token_order(const Groups& groups, const float* in, std::size_t ld_in, float* out,
                               std::size_t ld_out) {
  std::array<const float*, kWidthCount> from;
  for (std::size_t w = 0; w < kWidthCount; ++w) from[w] = in + groups.first[w];
  for (std::size_t first = 0; first < groups.n_tokens; first += 64) {
    const auto masks = token_masks(groups.bytes, groups.n_tokens, first / 64);
    __m512 v[4][kRows];
    for (auto& part : v) std::fill(part, part + kRows, _mm512_setzero_ps());
    for (const Width width : groups.present()) {
      const auto w = static_cast<std::size_t>(width);
      const float* run = from[w];
      for (std::size_t part = 0; part < 4; ++part) {
        const auto mask = static_cast<__mmask16>(masks[w] >> (16 * part));
        for (std::size_t r = 0; r < kRows; ++r) {
          v[part][r] = _mm512_mask_expandloadu_ps(v[part][r], mask, run + r * ld_in);
        }
        run += std::popcount(static_cast<unsigned>(mask));
      }
      from[w] = run;
    }
    for (std::size_t part = 0; part < 4 && first + 16 * part < groups.n_tokens; ++part) {
      for (std::size_t r = 0; r < kRows; ++r) {
        _mm512_storeu_ps(out + r * ld_out + first + 16 * part, v[part][r]);
      }
    }
  }
}

/// `in` [kRows, kRoom], out [kRows, kWeightRoom]: group w begins at first_out[w]. Writes up to 31 more.
template <std::size_t kRows>
HWY_INLINE void to_group_order(const Groups& groups, const std::uint16_t* in,
                               const std::array<std::size_t, kWidthCount>& first_out, std::uint16_t* out) {
  auto to = first_out;
  for (std::size_t first = 0; first < groups.n_tokens; first += 64) {
    const auto masks = token_masks(groups.bytes, groups.n_tokens, first / 64);
    for (const Width width : groups.present()) {
      const auto w = static_cast<std::size_t>(width);
      for (std::size_t part = 0; part < 2; ++part) {
        const auto mask = static_cast<__mmask32>(masks[w] >> (32 * part));
        for (std::size_t r = 0; r < kRows; ++r) {
          const __m512i v = _mm512_loadu_si512(in + r * kRoom + first + 32 * part);
          _mm512_storeu_si512(out + r * kWeightRoom + to[w], _mm512_maskz_compress_epi16(mask, v));
        }
        to[w] += static_cast<std::size_t>(std::popcount(mask));
      }
    }
  }
}

#else

#if HWY_TARGET == HWY_AVX2

/// For each mask of 8 tokens: `rank` says which of the next floats of its group a token takes, or -1 if it is
/// not in the mask; `chosen` are the tokens in the mask, one after the other.
struct OrderTables {
  constexpr OrderTables() {
    for (unsigned mask = 0; mask < 256; ++mask) {
      std::int8_t n = 0;
      for (std::int8_t t = 0; t < 8; ++t) {
        const bool in = (mask >> t & 1U) != 0;
        rank[mask][t] = in ? n : std::int8_t{-1};
        if (in) chosen[mask][n++] = t;
      }
    }
  }
  std::int8_t rank[256][8]{};
  std::int8_t chosen[256][8]{};
};
inline constexpr OrderTables kOrderTables;

HWY_INLINE __m256i load_lanes(const std::int8_t (&eight)[8]) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(eight)));
}

/// f(place, first, mask) for each group and 8 tokens from `first` on: the mask says which of them are in the
/// group, from `place` on in the order of the groups.
template <class F>
HWY_INLINE void for_each_eight(const Groups& groups, F&& f) {
  std::array<std::array<std::uint64_t, kWidthCount>, Segment::kMaxTokens / 64> masks;
  for (std::size_t first = 0; first < groups.n_tokens; first += 64) {
    masks[first / 64] = token_masks(groups.bytes, groups.n_tokens, first / 64);
  }
  for (const Width width : groups.present()) {
    const auto w = static_cast<std::size_t>(width);
    std::size_t place = groups.first[w];
    for (std::size_t i = 0; i < groups.n_tokens; i += 8) {
      const auto mask = static_cast<std::uint8_t>(masks[i / 64][w] >> i % 64);
      f(place, i, mask);
      place += static_cast<std::size_t>(std::popcount(mask));
    }
  }
}

template <std::size_t kRows>
HWY_INLINE void to_token_order(const Groups& groups, const float* in, std::size_t ld_in, float* out,
                               std::size_t ld_out) {
  for_each_eight(groups, [&](std::size_t place, std::size_t token, std::uint8_t mask) HWY_ATTR {
    const __m256i rank = load_lanes(kOrderTables.rank[mask]);
    for (std::size_t r = 0; r < kRows; ++r) {
      float* const to = out + r * ld_out + token;
      const __m256 next = _mm256_permutevar8x32_ps(_mm256_loadu_ps(in + r * ld_in + place), rank);
      _mm256_storeu_ps(to, _mm256_blendv_ps(next, _mm256_loadu_ps(to), _mm256_castsi256_ps(rank)));
    }
  });
}

template <std::size_t kRows>
HWY_INLINE void to_group_order(const Groups& groups, const float* in, std::size_t ld_in, float* out) {
  // Groups follow each other, so that each overwrites what was written behind the one before.
  for_each_eight(groups, [&](std::size_t place, std::size_t token, std::uint8_t mask) HWY_ATTR {
    const __m256i chosen = load_lanes(kOrderTables.chosen[mask]);
    for (std::size_t r = 0; r < kRows; ++r) {
      const __m256 v = _mm256_loadu_ps(in + r * ld_in + token);
      _mm256_storeu_ps(out + r * kRoom + place, _mm256_permutevar8x32_ps(v, chosen));
    }
  });
}

#else

template <std::size_t kRows>
HWY_INLINE void to_token_order(const Groups& groups, const float* in, std::size_t ld_in, float* out,
                               std::size_t ld_out) {
  for (const Width width : groups.present()) {
    const float* from = in + groups.first[static_cast<std::size_t>(width)];
    for_each_token(groups.bytes, groups.n_tokens, width, [&](std::size_t token, std::size_t rank) {
      for (std::size_t r = 0; r < kRows; ++r) out[r * ld_out + token] = from[r * ld_in + rank];
    });
  }
}

template <std::size_t kRows>
HWY_INLINE void to_group_order(const Groups& groups, const float* in, std::size_t ld_in, float* out) {
  for (const Width width : groups.present()) {
    float* const to = out + groups.first[static_cast<std::size_t>(width)];
    for_each_token(groups.bytes, groups.n_tokens, width, [&](std::size_t token, std::size_t rank) {
      for (std::size_t r = 0; r < kRows; ++r) to[r * kRoom + rank] = in[r * ld_in + token];
    });
  }
}

#endif  // HWY_AVX2
#endif  // HWY_AVX3_DL

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
