#include "kv/rotation.h"

#include <bit>
#include <cassert>
#include <cmath>
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kv/rotation.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "hwy/highway.h"

// Plain code, compiled for each target; products are not fused, so every target gives the same bits.
HWY_BEFORE_NAMESPACE();
namespace miser::kv::HWY_NAMESPACE {
namespace {

/// lo, hi = lo + hi, lo - hi over n channels each.
void butterfly(float* __restrict lo, float* __restrict hi, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const float sum = lo[i] + hi[i];
    hi[i] = lo[i] - hi[i];
    lo[i] = sum;
  }
}

/// Both steps that are too short for vector registers, on four neighbours.
void transform4(float* x) {
  const float a = x[0] + x[2];
  const float b = x[1] + x[3];
  const float c = x[0] - x[2];
  const float d = x[1] - x[3];
  x[0] = a + b;
  x[1] = a - b;
  x[2] = c + d;
  x[3] = c - d;
}

/// Hadamard transform in natural order of n = 2^k values, in place, not normalised.
void transform(float* x, std::size_t n) {
  if (n == 2) butterfly(x, x + 1, 1);
  if (n < 4) return;
  for (std::size_t half = n / 2; half >= 4; half /= 2) {
    for (std::size_t i = 0; i < n; i += 2 * half) butterfly(x + i, x + i + half, half);
  }
  for (std::size_t i = 0; i < n; i += 4) transform4(x + i);
}

void transform_blocks(float* row, std::size_t head_dim) {
  for (std::size_t begin = 0; begin < head_dim;) {
    const std::size_t block = std::bit_floor(head_dim - begin);
    transform(row + begin, block);
    begin += block;
  }
}

void multiply(std::span<const float> factors, float* __restrict row) {
  for (std::size_t i = 0; i < factors.size(); ++i) row[i] *= factors[i];
}

}  // namespace

void apply_rotation(std::span<const float> factors, std::span<float> rows) {
  for (std::size_t begin = 0; begin < rows.size(); begin += factors.size()) {
    multiply(factors, rows.data() + begin);
    transform_blocks(rows.data() + begin, factors.size());
  }
}

void invert_rotation(std::span<const float> factors, std::span<float> rows) {
  for (std::size_t begin = 0; begin < rows.size(); begin += factors.size()) {
    transform_blocks(rows.data() + begin, factors.size());
    multiply(factors, rows.data() + begin);
  }
}

}  // namespace miser::kv::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::kv {
namespace {

/// The sign of a channel: a bit of splitmix64 (Steele, Lea & Flood 2014) at its index. Packed caches on disk
/// depend on it.
float sign_of_channel(std::uint64_t channel) {
  std::uint64_t z = (channel + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return ((z ^ (z >> 31)) & 1) != 0 ? -1.0F : 1.0F;
}

}  // namespace

Rotation::Rotation(std::size_t head_dim) {
  factors_.reserve(head_dim);
  while (factors_.size() < head_dim) {
    const std::size_t block = std::bit_floor(head_dim - factors_.size());
    const float norm = 1.0F / std::sqrt(static_cast<float>(block));
    for (std::size_t i = 0; i < block; ++i) factors_.push_back(norm * sign_of_channel(factors_.size()));
  }
}

HWY_EXPORT(apply_rotation);
HWY_EXPORT(invert_rotation);

void Rotation::apply(std::span<float> rows) const {
  assert(rows.size() % head_dim() == 0);
  HWY_DYNAMIC_DISPATCH(apply_rotation)(factors_, rows);
}

void Rotation::invert(std::span<float> rows) const {
  assert(rows.size() % head_dim() == 0);
  HWY_DYNAMIC_DISPATCH(invert_rotation)(factors_, rows);
}

}  // namespace miser::kv
#endif  // HWY_ONCE
