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
#include <span>
#include <utility>

#include "base/divide_up.h"
#include "hwy/cache_control.h"
#include "kv/packed_codes-inl.h"
#include "kv/packed_groups.h"

MISER_BEFORE_NAMESPACE();
namespace miser::kv::HWY_NAMESPACE {

/// Tokens of a segment, and room for what is read in blocks of 64.
constexpr std::size_t kRoom = Segment::kMaxTokens + 64;

/// Prefetches bytes that are read later, a few lines at each of n steps: all at once would fill the queue of
/// loads.
class ReadAhead {
 public:
  ReadAhead() = default;
  ReadAhead(std::span<const std::byte> bytes, std::size_t n_steps)
      : at_(bytes.data()),
        end_(bytes.data() + bytes.size()),
        n_lines_(n_steps == 0 ? 0 : divide_up(divide_up(bytes.size(), kCacheLine), n_steps)) {}

  HWY_INLINE void step() {
    for (std::size_t i = 0; i < n_lines_ && at_ < end_; ++i, at_ += kCacheLine) hwy::Prefetch(at_);
  }

 private:
  static constexpr std::size_t kCacheLine = 64;

  const std::byte* at_ = nullptr;
  const std::byte* end_ = nullptr;
  std::size_t n_lines_ = 0;  ///< of a step
};

/// Scales of vectors [i, i + a register) of a group below 16 bits; what lies behind its last is any number.
HWY_INLINE hn::Vec<F32> load_scales(const Groups& groups, Width width, std::size_t i) {
  constexpr std::size_t kBytes = kRegister / 2;
  const std::byte* const from = groups.scales(width) + i * sizeof(std::uint16_t);
  const std::size_t left = groups.layout.total - static_cast<std::size_t>(from - groups.bytes);
  if (HWY_TARGET != HWY_SCALAR && left >= kBytes) {  // at any address
    return nn::HWY_NAMESPACE::load_half(F32(), reinterpret_cast<const std::uint16_t*>(from));
  }
  std::array<std::uint16_t, kBytes / 2> halves{};
  std::memcpy(halves.data(), from, std::min(left, kBytes));
  return nn::HWY_NAMESPACE::load_half(F32(), halves.data());
}

// `to_token_order`: out [kRows, ld_out] in token order from `in` [kRows, ld_in] in the order of the groups.
// `to_group_order` is its inverse, of weights: out [kRows, kWeightRoom], where group w begins at first_out[w]
// and has room for a register more; for AVX-512 packed_weights-inl.h has its own. Both read and write whole
// registers.
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
          v[part][r] = _mm512_mask_expand_ps(v[part][r], mask, _mm512_loadu_ps(run + r * ld_in));
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

/// f(first, each) for each 8 tokens from `first` on: each(step) calls step(mask, place) for every group; the
/// mask says which of them are in it, from `place` on in the order of the groups.
template <std::size_t... g, class F>
HWY_INLINE void for_each_eight(std::index_sequence<g...>, const Groups& groups,
                               const std::array<std::size_t, kWidthCount>& first_place, F&& f) {
  const std::array<std::size_t, sizeof...(g)> w = {static_cast<std::size_t>(groups.present()[g])...};
  std::array<std::size_t, sizeof...(g)> place = {first_place[w[g]]...};
  for (std::size_t first = 0; first < groups.n_tokens; first += 64) {
    const auto of_widths = token_masks(groups.bytes, groups.n_tokens, first / 64);
    std::array<std::uint64_t, sizeof...(g)> masks = {of_widths[w[g]]...};
    const auto each = [&](const auto& step) HWY_ATTR {
      const auto one = [&](std::uint64_t& mask, std::size_t& at) HWY_ATTR {
        const auto eight = static_cast<std::uint8_t>(mask);
        step(eight, at);
        at += static_cast<std::size_t>(std::popcount(eight));
        mask >>= 8;
      };
      (one(masks[g], place[g]), ...);
    };
    const std::size_t end = std::min(first + 64, groups.n_tokens);
    for (std::size_t token = first; token < end; token += 8) f(token, each);
  }
}

/// The same, for as many groups as there are, so that places stay in registers.
template <class F>
HWY_INLINE void for_each_eight(const Groups& groups, const std::array<std::size_t, kWidthCount>& first_place,
                               F&& f) {
  switch (groups.present().size()) {
    case 1:
      return for_each_eight(std::make_index_sequence<1>(), groups, first_place, f);
    case 2:
      return for_each_eight(std::make_index_sequence<2>(), groups, first_place, f);
    case 3:
      return for_each_eight(std::make_index_sequence<3>(), groups, first_place, f);
    case 4:
      return for_each_eight(std::make_index_sequence<4>(), groups, first_place, f);
    case 5:
      return for_each_eight(std::make_index_sequence<5>(), groups, first_place, f);
    default:
      return for_each_eight(std::make_index_sequence<kWidthCount>(), groups, first_place, f);
  }
}

template <std::size_t kRows>
HWY_INLINE void to_token_order(const Groups& groups, const float* in, std::size_t ld_in, float* out,
                               std::size_t ld_out) {
  for_each_eight(groups, groups.first, [&](std::size_t token, const auto& each) HWY_ATTR {
    __m256 v[kRows];
    std::fill(v, v + kRows, _mm256_setzero_ps());
    each([&](std::uint8_t mask, std::size_t place) HWY_ATTR {
      const __m256i rank = load_lanes(kOrderTables.rank[mask]);
      for (std::size_t r = 0; r < kRows; ++r) {
        const __m256 next = _mm256_permutevar8x32_ps(_mm256_loadu_ps(in + r * ld_in + place), rank);
        v[r] = _mm256_blendv_ps(next, v[r], _mm256_castsi256_ps(rank));
      }
    });
    for (std::size_t r = 0; r < kRows; ++r) _mm256_storeu_ps(out + r * ld_out + token, v[r]);
  });
}

template <std::size_t kRows>
HWY_INLINE void to_group_order(const Groups& groups, const float* in, std::size_t ld_in,
                               const std::array<std::size_t, kWidthCount>& first_out, float* out) {
  for_each_eight(groups, first_out, [&](std::size_t token, const auto& each) HWY_ATTR {
    __m256 v[kRows];
    for (std::size_t r = 0; r < kRows; ++r) v[r] = _mm256_loadu_ps(in + r * ld_in + token);
    each([&](std::uint8_t mask, std::size_t place) HWY_ATTR {
      const __m256i chosen = load_lanes(kOrderTables.chosen[mask]);
      for (std::size_t r = 0; r < kRows; ++r) {
        _mm256_storeu_ps(out + r * kWeightRoom + place, _mm256_permutevar8x32_ps(v[r], chosen));
      }
    });
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
HWY_INLINE void to_group_order(const Groups& groups, const float* in, std::size_t ld_in,
                               const std::array<std::size_t, kWidthCount>& first_out, float* out) {
  for (const Width width : groups.present()) {
    float* const to = out + first_out[static_cast<std::size_t>(width)];
    for_each_token(groups.bytes, groups.n_tokens, width, [&](std::size_t token, std::size_t rank) {
      for (std::size_t r = 0; r < kRows; ++r) to[r * kWeightRoom + rank] = in[r * ld_in + token];
    });
  }
}

#endif  // HWY_AVX2
#endif  // HWY_AVX3_DL

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
