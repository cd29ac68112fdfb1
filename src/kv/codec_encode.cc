// Encoding, 8 channels at a time on every target. Without fused products and with the order of sums written
// out, all give the same bytes.
#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>
#include <vector>

#include "kv/codec.h"
#include "kv/codec_codebook.h"
#include "nn/ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kv/codec_encode.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace miser::kv::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr std::size_t kGroup = 8;  // channels at a time, and codes that are `bits` whole bytes
constexpr float kMaxHalf = 65504;
constexpr float kInt8Max = 127;

/// f(first, integral_constant 8) for whole groups of n elements, f(first, rest) for what is left.
template <typename F>
void for_each_group(std::size_t n, F&& f) {
  std::size_t i = 0;
  for (; i + kGroup <= n; i += kGroup) f(i, std::integral_constant<std::size_t, kGroup>{});
  if (i < n) f(i, n - i);
}

std::uint16_t to_half(float x) {
  std::uint16_t bits = 0;
  nn::f32_to_f16(std::span(&x, 1), std::span(&bits, 1));
  return bits;
}

float from_half(std::uint16_t bits) {
  float x = 0;
  nn::f16_to_f32(std::span(&bits, 1), std::span(&x, 1));
  return x;
}

using Floats = hn::CappedTag<float, kGroup>;
using Bits = hn::RebindToUnsigned<Floats>;
using Vector = hn::Vec<Floats>;
constexpr std::size_t kLanes =
    HWY_TARGET == HWY_SCALAR ? 1 : std::min<std::size_t>(kGroup, HWY_MAX_BYTES / 4);
constexpr std::size_t kParts = kGroup / kLanes;  // registers of a group

/// Sums run in kGroup lanes, each in the order of the channels, and then by halves: a fixed order that vector
/// registers of any length can follow.
struct Lanes {
  Lanes() { std::fill(part, part + kParts, hn::Zero(Floats())); }

  float sum() const {
    std::array<float, kGroup> lanes;
    for (std::size_t p = 0; p < kParts; ++p) hn::StoreU(part[p], Floats(), &lanes[p * kLanes]);
    for (std::size_t half = kGroup / 2; half > 0; half /= 2) {
      for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    return lanes[0];
  }

  Vector part[kParts];
};

/// A vector with zeros behind it up to a whole group.
struct Padded {
  const float* x;
  std::size_t n;
  std::size_t padding;

  std::size_t size() const { return n + padding; }
  HWY_INLINE Vector load(std::size_t first, std::size_t part) const {
    return hn::LoadU(Floats(), x + first + part * kLanes);
  }
};

HWY_INLINE float norm2(const Padded& x) {
  Lanes lanes;
  for (std::size_t i = 0; i < x.size(); i += kGroup) {
    for (std::size_t p = 0; p < kParts; ++p) {
      lanes.part[p] = hn::Add(lanes.part[p], hn::Mul(x.load(i, p), x.load(i, p)));
    }
  }
  return lanes.sum();
}

/// How well the levels that are nearest to x / scale point along x.
struct Fit {
  float scale = 0;  ///< that chose the levels
  float dot = 0;    ///< <x, levels>
  float norm2 = 1;  ///< |levels|^2, exact: integers below 2^24

  float least_squares() const { return dot / norm2; }
  /// The angle to x decides: the errors under both scale rules fall with cos^2 = dot^2 / (norm2 |x|^2).
  bool better_than(const Fit& other) const { return dot * dot * other.norm2 > other.dot * other.dot * norm2; }
};

/// Where |x| / scale changes its level, and by how much.
template <int kBits>
struct Steps {
  using Book = Codebook<kBits>;
  static constexpr std::size_t kCount = Book::kMagnitudes.size() - 1;

  explicit HWY_INLINE Steps(float scale) {
    for (std::size_t k = 0; k < kCount; ++k) {
      limit[k] = scale * (0.5F * (Book::kMagnitudes[k] + Book::kMagnitudes[k + 1]));
    }
  }
  HWY_INLINE Vector level(Vector magnitude) const {
    const Floats d;
    auto level = hn::Set(d, Book::kMagnitudes[0]);
    for (std::size_t k = 0; k < kCount; ++k) {
      const auto step = hn::Set(d, Book::kMagnitudes[k + 1] - Book::kMagnitudes[k]);
      level = hn::Add(level, hn::IfThenElseZero(hn::Gt(magnitude, hn::Set(d, limit[k])), step));
    }
    return level;
  }
  /// Codes ascend with the value.
  HWY_INLINE hn::Vec<Bits> code(Vector x) const {
    const Floats d;
    const Bits bits;
    auto index = hn::Zero(bits);
    for (const float value : limit) {
      const auto above = hn::RebindMask(bits, hn::Gt(hn::Abs(x), hn::Set(d, value)));
      index = hn::Add(index, hn::IfThenElseZero(above, hn::Set(bits, 1)));
    }
    const auto half = hn::Set(bits, 1U << (kBits - 1));
    const auto negative = hn::RebindMask(bits, hn::Lt(x, hn::Zero(d)));
    return hn::IfThenElse(negative, hn::Sub(hn::Sub(half, hn::Set(bits, 1)), index), hn::Add(half, index));
  }

  std::array<float, kCount> limit;
};

template <int kBits>
HWY_INLINE Fit fit(const Padded& x, float scale) {
  constexpr float kLowest = Codebook<kBits>::kMagnitudes[0];
  const Steps<kBits> steps(scale);
  Lanes dot;
  Lanes squares;
  for (std::size_t i = 0; i < x.size(); i += kGroup) {
    for (std::size_t p = 0; p < kParts; ++p) {
      const auto magnitude = hn::Abs(x.load(i, p));
      const auto level = steps.level(magnitude);
      dot.part[p] = hn::Add(dot.part[p], hn::Mul(magnitude, level));
      squares.part[p] = hn::Add(squares.part[p], hn::Mul(level, level));
    }
  }
  return {scale, dot.sum(), squares.sum() - static_cast<float>(x.padding) * kLowest * kLowest};
}

/// Lloyd's iteration (nearest levels, then the best scale for them) stops at the next of many local optima,
/// so scales around its start are tried too.
template <int kBits>
HWY_INLINE Fit best_fit(const Padded& x, float x_norm2) {
  const float start = std::sqrt(x_norm2 / static_cast<float>(x.n)) * Codebook<kBits>::kScalePerRms;
  Fit best = fit<kBits>(x, start);
  if constexpr (kBits > 1) {
    auto attempt = [&](float scale) HWY_ATTR {
      const Fit candidate = fit<kBits>(x, scale);
      if (candidate.better_than(best)) best = candidate;
      return candidate.least_squares();
    };
    attempt(attempt(best.least_squares()));
    for (const float factor : {0.8F, 0.9F, 1.1F, 1.2F}) attempt(start * factor);
  }
  return best;
}

/// 8 codes of kBits bits, one to a byte, to kBits bytes: the inverse of spread_codes.
template <int kBits>
constexpr std::uint64_t join_codes(std::uint64_t word) {
  constexpr std::uint64_t kTwo = (1U << (2 * kBits)) - 1;
  constexpr std::uint64_t kFour = (1ULL << (4 * kBits)) - 1;
  word = (word | word >> (8 - kBits)) & (kTwo * 0x0001000100010001ULL);
  word = (word | word >> (16 - 2 * kBits)) & (kFour | kFour << 32);
  return word | word >> (32 - 4 * kBits);
}

template <int kBits>
HWY_INLINE void store_nearest(const Padded& x, float scale, std::byte* out) {
  const Steps<kBits> steps(scale);
  for (std::size_t i = 0; i < x.size(); i += kGroup, out += kBits) {
    std::array<std::uint8_t, kGroup> codes;
    for (std::size_t p = 0; p < kParts; ++p) {
      hn::StoreU(hn::U8FromU32(steps.code(x.load(i, p))), hn::Rebind<std::uint8_t, Bits>(),
                 &codes[p * kLanes]);
    }
    std::uint64_t word = 0;
    std::memcpy(&word, codes.data(), sizeof(word));
    if (i + kGroup > x.n) word &= ~std::uint64_t{0} >> (8 * x.padding);  // its codes are 0
    word = join_codes<kBits>(word);
    std::memcpy(out, &word, kBits);
  }
}

template <int kBits>
HWY_INLINE std::uint16_t encode_codebook(const Padded& x, ScaleRule rule, std::byte* out) {
  const float x_norm2 = norm2(x);
  const Fit best = best_fit<kBits>(x, x_norm2);
  store_nearest<kBits>(x, best.scale, out);
  if (x_norm2 == 0) return 0;
  const float scale = rule == ScaleRule::kUnbiased ? x_norm2 / best.dot : best.least_squares();
  return to_half(scale < kMaxHalf ? scale : kMaxHalf);
}

HWY_INLINE float largest_of(const Padded& x) {
  auto largest = hn::Zero(Floats());
  for (std::size_t i = 0; i < x.size(); i += kGroup) {
    for (std::size_t p = 0; p < kParts; ++p) largest = hn::Max(largest, hn::Abs(x.load(i, p)));
  }
  return hn::GetLane(hn::MaxOfLanes(Floats(), largest));
}

/// The stored scale is rounded before the codes are chosen, and never so far down that the largest value
/// clips.
HWY_INLINE std::uint16_t encode_int8(const Padded& x, std::byte* out) {
  const Floats d;
  const hn::Rebind<std::int8_t, Floats> d8;
  const float largest = largest_of(x);
  constexpr float kSmallest = 0x1p-25F;  // below half the smallest scale nothing but zeros is left
  const float wanted = largest < kSmallest ? 0.0F : largest / kInt8Max;
  std::uint16_t scale = to_half(wanted < kMaxHalf ? wanted : kMaxHalf);
  if (from_half(scale) * (kInt8Max + 0.5F) < largest && wanted > 0 && wanted < kMaxHalf) ++scale;
  const auto inverse = hn::Set(d, scale == 0 ? 0.0F : 1.0F / from_half(scale));
  for (std::size_t i = 0; i < x.size(); i += kGroup) {
    std::array<std::int8_t, kGroup> codes;
    for (std::size_t p = 0; p < kParts; ++p) {
      const auto scaled = hn::Mul(x.load(i, p), inverse);
      const auto clipped = hn::Max(hn::Set(d, -kInt8Max), hn::Min(hn::Set(d, kInt8Max), scaled));
      const auto rounded = hn::Add(clipped, hn::CopySign(hn::Set(d, 0.5F), clipped));  // then cut
      hn::StoreU(hn::DemoteTo(d8, hn::ConvertTo(hn::RebindToSigned<Floats>(), rounded)), d8,
                 &codes[p * kLanes]);
    }
    std::memcpy(out + i, codes.data(), kGroup);
  }
  return scale;
}

}  // namespace

std::uint16_t encode_vector(Width width, std::span<const float> row, ScaleRule rule, std::byte* payload) {
  const std::size_t padding = (kGroup - row.size() % kGroup) % kGroup;
  std::vector<float> longer;
  if (padding > 0) {
    longer.assign(row.begin(), row.end());
    longer.resize(row.size() + padding);
  }
  const Padded x{padding > 0 ? longer.data() : row.data(), row.size(), padding};
  switch (width) {
    case Width::k1:
      return encode_codebook<1>(x, rule, payload);
    case Width::k2:
      return encode_codebook<2>(x, rule, payload);
    case Width::k3:
      return encode_codebook<3>(x, rule, payload);
    case Width::k4:
      return encode_codebook<4>(x, rule, payload);
    case Width::k8:
      return encode_int8(x, payload);
    case Width::k16:
      break;
  }
  assert(false);
  return 0;
}

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::kv {

HWY_EXPORT(encode_vector);

std::uint16_t encode(Width width, std::span<const float> x, ScaleRule rule, std::span<std::byte> payload) {
  assert(payload.size() == payload_bytes(width, x.size()));
  return HWY_DYNAMIC_DISPATCH(encode_vector)(width, x, rule, payload.data());
}

}  // namespace miser::kv
#endif  // HWY_ONCE
