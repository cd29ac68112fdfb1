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

#if HWY_TARGET == HWY_AVX3_DL

/// out [kRows, ld_out] in token order from `in` [kRows, ld_in] in the order of the groups. Writes whole
/// registers.
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

/// The inverse for rows [kRows, kRoom] of 16-bit numbers, out [kRows, kWeightRoom]: group w begins at
/// first_out[w]. Writes up to 31 more.
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
HWY_INLINE void to_group_order(const Groups& groups, const std::uint16_t* in,
                               const std::array<std::size_t, kWidthCount>& first_out, std::uint16_t* out) {
  for (const Width width : groups.present()) {
    std::uint16_t* const to = out + first_out[static_cast<std::size_t>(width)];
    for_each_token(groups.bytes, groups.n_tokens, width, [&](std::size_t token, std::size_t rank) {
      for (std::size_t r = 0; r < kRows; ++r) to[r * kWeightRoom + rank] = in[r * kRoom + token];
    });
  }
}

#endif

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
