// Encoding: plain code, compiled for each Highway target. Without fused products and with the order of sums
// written out, every target gives the same bytes.
#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>
#include <type_traits>

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

constexpr std::size_t kGroup = 8;  // codes packed at a time: `bits` whole bytes
constexpr float kMaxHalf = 65504;
constexpr float kInt8Max = 127;

/// f(first, integral_constant 8) for whole groups of n elements, f(first, rest) for what is left.
template <typename F>
void for_each_group(std::size_t n, F&& f) {
  std::size_t i = 0;
  for (; i + kGroup <= n; i += kGroup) f(i, std::integral_constant<std::size_t, kGroup>{});
  if (i < n) f(i, n - i);
}

template <int kBits>
void store_codes(const std::array<std::uint32_t, kGroup>& codes, std::byte* out) {
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < kGroup; ++i) word |= std::uint64_t{codes[i]} << (i * kBits);
  std::memcpy(out, &word, kBits);
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

/// Sums run in kGroup lanes, each in the order of the channels, and then by halves: a fixed order that vector
/// registers can follow.
using Lanes = std::array<float, kGroup>;

float sum(Lanes lanes) {
  for (std::size_t half = kGroup / 2; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

float norm2(std::span<const float> x) {
  Lanes lanes{};
  for_each_group(x.size(), [&](std::size_t first, auto n) {
    for (std::size_t i = 0; i < n; ++i) lanes[i] += x[first + i] * x[first + i];
  });
  return sum(lanes);
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

/// Magnitudes between which a value changes its level.
template <int kBits>
auto thresholds(float scale) {
  using Book = Codebook<kBits>;
  std::array<float, Book::kMagnitudes.size() - 1> out{};
  for (std::size_t k = 0; k < out.size(); ++k)
    out[k] = scale * (0.5F * (Book::kMagnitudes[k] + Book::kMagnitudes[k + 1]));
  return out;
}

template <int kBits>
Fit fit(std::span<const float> x, float scale) {
  using Book = Codebook<kBits>;
  const auto limits = thresholds<kBits>(scale);
  Lanes dot{};
  Lanes squares{};
  for_each_group(x.size(), [&](std::size_t first, auto n) {
    for (std::size_t i = 0; i < n; ++i) {
      const float magnitude = std::abs(x[first + i]);
      float level = Book::kMagnitudes[0];
      for (std::size_t k = 0; k < limits.size(); ++k) {
        level += magnitude > limits[k] ? Book::kMagnitudes[k + 1] - Book::kMagnitudes[k] : 0.0F;
      }
      dot[i] += magnitude * level;
      squares[i] += level * level;
    }
  });
  return {scale, sum(dot), sum(squares)};
}

/// Lloyd's iteration (nearest levels, then the best scale for them) stops at the next of many local optima,
/// so scales around its start are tried too.
template <int kBits>
Fit best_fit(std::span<const float> x, float x_norm2) {
  const float start = std::sqrt(x_norm2 / static_cast<float>(x.size())) * Codebook<kBits>::kScalePerRms;
  Fit best = fit<kBits>(x, start);
  if constexpr (kBits > 1) {
    auto attempt = [&](float scale) {
      const Fit candidate = fit<kBits>(x, scale);
      if (candidate.better_than(best)) best = candidate;
      return candidate.least_squares();
    };
    attempt(attempt(best.least_squares()));
    for (const float factor : {0.8F, 0.9F, 1.1F, 1.2F}) attempt(start * factor);
  }
  return best;
}

template <int kBits>
void store_nearest(std::span<const float> x, float scale, std::byte* out) {
  const auto limits = thresholds<kBits>(scale);
  constexpr std::uint32_t kHalf = 1U << (kBits - 1);
  for_each_group(x.size(), [&](std::size_t first, auto n) {
    std::array<std::uint32_t, kGroup> codes{};
    for (std::size_t i = 0; i < n; ++i) {
      std::uint32_t index = 0;
      for (const float limit : limits) index += std::abs(x[first + i]) > limit ? 1 : 0;
      codes[i] = x[first + i] < 0 ? kHalf - 1 - index : kHalf + index;
    }
    store_codes<kBits>(codes, out + first / kGroup * kBits);
  });
}

template <int kBits>
std::uint16_t encode_codebook(std::span<const float> x, ScaleRule rule, std::byte* out) {
  const float x_norm2 = norm2(x);
  const Fit best = best_fit<kBits>(x, x_norm2);
  store_nearest<kBits>(x, best.scale, out);
  if (x_norm2 == 0) return 0;
  const float scale = rule == ScaleRule::kUnbiased ? x_norm2 / best.dot : best.least_squares();
  return to_half(scale < kMaxHalf ? scale : kMaxHalf);
}

/// The stored scale is rounded before the codes are chosen, and never so far down that the largest value
/// clips.
std::uint16_t encode_int8(std::span<const float> x, std::byte* out) {
  float largest = 0;
  for (const float value : x) largest = std::max(largest, std::abs(value));
  constexpr float kSmallest = 0x1p-25F;  // below half the smallest scale nothing but zeros is left
  const float wanted = largest < kSmallest ? 0.0F : largest / kInt8Max;
  std::uint16_t scale = to_half(wanted < kMaxHalf ? wanted : kMaxHalf);
  if (from_half(scale) * (kInt8Max + 0.5F) < largest && wanted > 0 && wanted < kMaxHalf) ++scale;
  const float inverse = scale == 0 ? 0.0F : 1.0F / from_half(scale);
  for_each_group(x.size(), [&](std::size_t first, auto n) {
    std::array<std::int8_t, kGroup> codes{};
    for (std::size_t i = 0; i < n; ++i) {
      const float scaled = x[first + i] * inverse;
      const float clipped = std::max(-kInt8Max, std::min(kInt8Max, scaled));
      codes[i] = static_cast<std::int8_t>(clipped + std::copysign(0.5F, clipped));
    }
    std::memcpy(out + first, codes.data(), kGroup);
  });
  return scale;
}

}  // namespace

std::uint16_t encode_vector(Width width, std::span<const float> x, ScaleRule rule, std::byte* payload) {
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
