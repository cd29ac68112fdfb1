#include "eval/kl_sums.h"

#include <cassert>
#include <cstddef>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "eval/kl_sums.cc"
#include "hwy/foreach_target.h"  // before any other Highway header

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace miser::eval::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using F64 = hn::ScalableTag<double>;

HWY_INLINE hn::Vec<F64> load(const float* from) {
  return hn::PromoteTo(F64(), hn::LoadU(hn::Rebind<float, F64>(), from));
}

/// term(sum, at) adds a register of terms, made of what at(x) reads of each array x [n]: in two chains, then
/// what is left one by one.
template <class Term>
HWY_INLINE double sum_terms(std::size_t n, const Term& term) {
  const F64 d;
  const std::size_t lanes = hn::Lanes(d);
  auto a = hn::Zero(d);
  auto b = hn::Zero(d);
  std::size_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    a = term(a, [&](const float* x) HWY_ATTR { return load(x + i); });
    b = term(b, [&](const float* x) HWY_ATTR { return load(x + i + lanes); });
  }
  const hn::Vec<F64> whole = hn::SumOfLanes(d, hn::Add(a, b));
  auto rest = hn::Zero(d);
  for (; i < n; ++i) {
    rest = term(rest, [&](const float* x) HWY_ATTR { return hn::Set(d, static_cast<double>(x[i])); });
  }
  return hn::GetLane(whole) + hn::GetLane(rest);
}

}  // namespace

double weighted_difference(const float* weights, const float* a, const float* b, std::size_t n) {
  return sum_terms(n, [&](hn::Vec<F64> sum, const auto& at)
                          HWY_ATTR { return hn::MulAdd(at(weights), hn::Sub(at(a), at(b)), sum); });
}

double above_tangent(const float* weights, const float* raised, const float* a, const float* b, double shift,
                     std::size_t n) {
  const F64 d;
  const auto coefficient = [&](double x) HWY_ATTR { return hn::Set(d, x); };
  return sum_terms(n, [&](hn::Vec<F64> sum, const auto& at) HWY_ATTR {
    const auto weight = at(weights);
    const auto x = hn::Sub(hn::Set(d, shift), hn::Sub(at(a), at(b)));
    // exp(x) - 1 - x = x^2 (1/2 + x/6 + ...)
    auto series = hn::MulAdd(x, coefficient(1.0 / 720), coefficient(1.0 / 120));
    series = hn::MulAdd(x, series, coefficient(1.0 / 24));
    series = hn::MulAdd(x, series, coefficient(1.0 / 6));
    series = hn::MulAdd(x, series, coefficient(0.5));
    const auto near = hn::Mul(hn::Mul(x, x), hn::Mul(weight, series));
    const auto far = hn::Sub(at(raised), hn::MulAdd(weight, x, weight));
    constexpr double kNear = 0.25;
    return hn::Add(sum, hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, kNear)), near, far));
  });
}

}  // namespace miser::eval::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace miser::eval {

HWY_EXPORT(weighted_difference);
HWY_EXPORT(above_tangent);

double sum_weighted_difference(std::span<const float> weights, std::span<const float> a,
                               std::span<const float> b) {
  assert(a.size() == weights.size() && b.size() == weights.size());
  return HWY_DYNAMIC_DISPATCH(weighted_difference)(weights.data(), a.data(), b.data(), weights.size());
}

double sum_above_tangent(std::span<const float> weights, std::span<const float> raised,
                         std::span<const float> a, std::span<const float> b, double shift) {
  assert(raised.size() == weights.size() && a.size() == weights.size() && b.size() == weights.size());
  return HWY_DYNAMIC_DISPATCH(above_tangent)(weights.data(), raised.data(), a.data(), b.data(), shift,
                                             weights.size());
}

}  // namespace miser::eval
#endif  // HWY_ONCE
