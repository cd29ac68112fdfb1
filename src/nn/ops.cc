#include "nn/ops.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nn/ops.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "nn/half-inl.h"

HWY_BEFORE_NAMESPACE();
namespace miser::nn::HWY_NAMESPACE {

using Floats = hn::ScalableTag<float>;

/// Calls f(tag, i) for all i < n: whole vectors first, then the rest one by one with a tag of one lane.
template <class F>
HWY_INLINE void for_each_vector(std::size_t n, F&& f) {
  const Floats d;
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) f(d, i);
  for (; i < n; ++i) f(hn::CappedTag<float, 1>(), i);
}

/// exp(x) for every float: infinity from 89 on, 0 below -104, NaN for NaN. hn::Exp alone is for -104..104.
template <class D>
HWY_INLINE hn::Vec<D> exp_any(D d, hn::Vec<D> x) {
  const auto y = hn::Exp(d, hn::Min(x, hn::Set(d, 104.0F)));
  return hn::IfThenElse(hn::Eq(x, x), y, x);
}

/// exp(x) for every float as well, to 2e-7 of it: 0 where it is subnormal, infinity from 88.73 on. Half
/// the instructions of hn::Exp, which attention over long contexts notices.
template <class D>
HWY_INLINE hn::Vec<D> exp_short(D d, hn::Vec<D> x) {
  const hn::RebindToUnsigned<D> du;
  // x = n ln 2 + r, |r| <= ln 2 / 2. Adding 1.5 * 2^23 leaves n in the lowest bits.
  const auto magic = hn::Set(d, 0x1.8p23F);
  const auto shifted = hn::MulAdd(x, hn::Set(d, 1.44269504F), magic);
  const auto n = hn::Sub(shifted, magic);
  auto r = hn::MulAdd(n, hn::Set(d, -0.693145751953125F), x);
  r = hn::MulAdd(n, hn::Set(d, -1.428606765330187e-6F), r);
  // (exp(r) - 1 - r) / r^2, minimax of the relative error of exp(r): 1.1e-7.
  const auto r2 = hn::Mul(r, r);
  const auto low = hn::MulAdd(hn::Set(d, 0.16667116F), r, hn::Set(d, 0.49999231F));
  const auto high = hn::MulAdd(hn::Set(d, 0.0083125010F), r, hn::Set(d, 0.041890331F));
  const auto e = hn::Add(hn::MulAdd(hn::MulAdd(high, r2, low), r2, r), hn::Set(d, 1.0F));
  const auto y = hn::BitCast(d, hn::Add(hn::BitCast(du, e), hn::ShiftLeft<23>(hn::BitCast(du, shifted))));
  const auto above_zero = hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.3365F)), y);
  return hn::IfThenElse(hn::Gt(x, hn::Set(d, 88.72F)), hn::Set(d, std::numeric_limits<float>::infinity()),
                        above_zero);
}

/// Sum of f(d, i) over whole vectors and of its one-lane form over the rest, in four chains (multiply-add
/// latency).
template <class F>
HWY_INLINE float sum_vectors(std::size_t n, F&& f) {
  const Floats d;
  const hn::CappedTag<float, 1> d1;
  const std::size_t lanes = hn::Lanes(d);
  auto s0 = hn::Zero(d);
  auto s1 = hn::Zero(d);
  std::size_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    s0 = f(d, i, s0);
    s1 = f(d, i + lanes, s1);
  }
  auto rest = hn::Zero(d1);
  for (; i < n; ++i) rest = f(d1, i, rest);
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, s1))) + hn::GetLane(rest);
}

void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon, std::span<float> out) {
  const float square_sum = sum_vectors(x.size(), [&](auto d, std::size_t i, auto sum) HWY_ATTR {
    const auto v = hn::LoadU(d, &x[i]);
    return hn::MulAdd(v, v, sum);
  });
  const float factor = 1.0F / std::sqrt(square_sum / static_cast<float>(x.size()) + epsilon);
  for_each_vector(x.size(), [&](auto d, std::size_t i) HWY_ATTR {
    const auto normed = hn::Mul(hn::LoadU(d, &x[i]), hn::Set(d, factor));
    hn::StoreU(hn::Mul(normed, hn::LoadU(d, &weight[i])), d, &out[i]);
  });
}

void add(std::span<const float> x, std::span<float> out) {
  for_each_vector(x.size(), [&](auto d, std::size_t i) HWY_ATTR {
    hn::StoreU(hn::Add(hn::LoadU(d, &out[i]), hn::LoadU(d, &x[i])), d, &out[i]);
  });
}

void silu_multiply(std::span<float> gate, std::span<const float> up) {
  for_each_vector(gate.size(), [&](auto d, std::size_t i) HWY_ATTR {
    const auto g = hn::LoadU(d, &gate[i]);
    const auto denominator = hn::Add(hn::Set(d, 1.0F), exp_any(d, hn::Neg(g)));
    hn::StoreU(hn::Mul(hn::Div(g, denominator), hn::LoadU(d, &up[i])), d, &gate[i]);
  });
}

#if HWY_TARGET != HWY_SCALAR
/// Lanes (c0, s0, c1, s1, ...) against (x0, x1, x2, x3, ...): even lanes x0 c - x1 s, odd lanes x1 c + x0 s.
template <class D>
HWY_INLINE void rotate_pairs(D d, float* HWY_RESTRICT x, const float* HWY_RESTRICT cos_sin) {
  const auto v = hn::LoadU(d, x);
  const auto angles = hn::LoadU(d, cos_sin);
  const auto product = hn::Mul(hn::Reverse2(d, v), hn::DupOdd(angles));
  const auto rotated =
      hn::OddEven(hn::MulAdd(v, hn::DupEven(angles), product), hn::MulSub(v, hn::DupEven(angles), product));
  hn::StoreU(rotated, d, x);
}
#endif

void apply_rope(std::span<float> x, std::size_t n_heads, std::size_t head_dim,
                std::span<const float> cos_sin) {
  for (std::size_t head = 0; head < n_heads; ++head) {
    float* const v = x.data() + head * head_dim;
    std::size_t i = 0;
#if HWY_TARGET != HWY_SCALAR
    const Floats d;
    for (; i + hn::Lanes(d) <= cos_sin.size(); i += hn::Lanes(d)) rotate_pairs(d, v + i, &cos_sin[i]);
#endif
    for (; i + 2 <= cos_sin.size(); i += 2) {
      const float x0 = v[i];
      const float x1 = v[i + 1];
      v[i] = x0 * cos_sin[i] - x1 * cos_sin[i + 1];
      v[i + 1] = x1 * cos_sin[i] + x0 * cos_sin[i + 1];
    }
  }
}

float exp_shifted(std::span<float> x, float shift, float* sum_squares) {
  const float sum = sum_vectors(x.size(), [&](auto d, std::size_t i, auto total) HWY_ATTR {
    const auto y = exp_short(d, hn::Sub(hn::LoadU(d, &x[i]), hn::Set(d, shift)));
    hn::StoreU(y, d, &x[i]);
    return hn::Add(total, y);
  });
  if (sum_squares != nullptr) {
    *sum_squares = sum_vectors(x.size(), [&](auto d, std::size_t i, auto total) HWY_ATTR {
      const auto y = hn::LoadU(d, &x[i]);
      return hn::MulAdd(y, y, total);
    });
  }
  return sum;
}

float max_of(std::span<const float> x) {
  const Floats d;
  const std::size_t lanes = hn::Lanes(d);
  auto largest = hn::Set(d, x[0]);
  std::size_t i = 0;
  for (; i + lanes <= x.size(); i += lanes) largest = hn::Max(largest, hn::LoadU(d, &x[i]));
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < x.size(); ++i) result = std::max(result, x[i]);
  return result;
}

void scale(std::span<float> x, float factor) {
  for_each_vector(x.size(), [&](auto d, std::size_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, &x[i]), hn::Set(d, factor)), d, &x[i]);
  });
}

void f16_to_f32(std::span<const std::uint16_t> x, std::span<float> out) {
  for_each_vector(x.size(),
                  [&](auto d, std::size_t i) HWY_ATTR { hn::StoreU(load_half(d, &x[i]), d, &out[i]); });
}

void f32_to_f16(std::span<const float> x, std::span<std::uint16_t> out) {
  for_each_vector(x.size(),
                  [&](auto d, std::size_t i) HWY_ATTR { store_half(d, hn::LoadU(d, &x[i]), &out[i]); });
}

}  // namespace miser::nn::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::nn {

HWY_EXPORT(rms_norm);
HWY_EXPORT(add);
HWY_EXPORT(silu_multiply);
HWY_EXPORT(apply_rope);
HWY_EXPORT(exp_shifted);
HWY_EXPORT(max_of);
HWY_EXPORT(scale);
HWY_EXPORT(f16_to_f32);
HWY_EXPORT(f32_to_f16);

void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon, std::span<float> out) {
  assert(weight.size() == x.size() && out.size() == x.size());
  HWY_DYNAMIC_DISPATCH(rms_norm)(x, weight, epsilon, out);
}

void add(std::span<const float> x, std::span<float> out) {
  assert(out.size() == x.size());
  HWY_DYNAMIC_DISPATCH(add)(x, out);
}

void silu_multiply(std::span<float> gate, std::span<const float> up) {
  assert(up.size() == gate.size());
  HWY_DYNAMIC_DISPATCH(silu_multiply)(gate, up);
}

void apply_rope(std::span<float> x, std::size_t n_heads, std::size_t head_dim,
                std::span<const float> cos_sin) {
  assert(x.size() == n_heads * head_dim && cos_sin.size() <= head_dim);
  HWY_DYNAMIC_DISPATCH(apply_rope)(x, n_heads, head_dim, cos_sin);
}

float exp_shifted(std::span<float> x, float shift, float* sum_squares) {
  return HWY_DYNAMIC_DISPATCH(exp_shifted)(x, shift, sum_squares);
}

float max_of(std::span<const float> x) {
  assert(!x.empty());
  return HWY_DYNAMIC_DISPATCH(max_of)(x);
}

void scale(std::span<float> x, float factor) {
  HWY_DYNAMIC_DISPATCH(scale)(x, factor);
}

void f16_to_f32(std::span<const std::uint16_t> x, std::span<float> out) {
  assert(out.size() == x.size());
  HWY_DYNAMIC_DISPATCH(f16_to_f32)(x, out);
}

void f32_to_f16(std::span<const float> x, std::span<std::uint16_t> out) {
  assert(out.size() == x.size());
  HWY_DYNAMIC_DISPATCH(f32_to_f16)(x, out);
}

}  // namespace miser::nn
#endif  // HWY_ONCE
