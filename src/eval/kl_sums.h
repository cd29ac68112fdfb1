#pragma once
#include <span>

namespace miser::eval {

/// Sums in double over spans of one length n.

/// Sum of weights * (a - b).
double sum_weighted_difference(std::span<const float> weights, std::span<const float> a,
                               std::span<const float> b);

/// Sum of weights * (exp(x) - 1 - x), x = shift - (a - b); no term is negative. `raised` holds weights *
/// exp(x), which is used where |x| is not small: there terms are right to 1e-5 of themselves, elsewhere to
/// 4e-7.
double sum_above_tangent(std::span<const float> weights, std::span<const float> raised,
                         std::span<const float> a, std::span<const float> b, double shift);

}  // namespace miser::eval
