#include "report/hull.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace miser::report {
namespace {

/// Positive when a, b, c turn left.
double turn(const Point& a, const Point& b, const Point& c) {
  return (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
}

}  // namespace

std::vector<std::size_t> lower_hull(std::span<const Point> points) {
  std::vector<std::size_t> order(points.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::make_pair(points[a].x, points[a].y) < std::make_pair(points[b].x, points[b].y);
  });
  std::vector<std::size_t> hull;
  for (const std::size_t i : order) {
    if (!hull.empty() && points[i].y >= points[hull.back()].y) continue;  // costs more and is no better
    while (hull.size() >= 2 && turn(points[hull[hull.size() - 2]], points[hull.back()], points[i]) <= 0) {
      hull.pop_back();
    }
    hull.push_back(i);
  }
  return hull;
}

}  // namespace miser::report
