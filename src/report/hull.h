#pragma once
#include <cstddef>
#include <span>
#include <vector>

namespace miser::report {

struct Point {
  double x;
  double y;
};

/// Indices of the corners of the lower left convex hull (Andrew 1979) in order of x, as far as y falls: every
/// other point lies on or above the line through them.
std::vector<std::size_t> lower_hull(std::span<const Point> points);

}  // namespace miser::report
