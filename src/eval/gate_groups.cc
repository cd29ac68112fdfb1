#include "eval/gate_groups.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>

namespace miser::eval {
namespace {

constexpr std::array kWidths = {kv::Width::k1, kv::Width::k2, kv::Width::k3, kv::Width::k4, kv::Width::k8};
constexpr double kLeastWide = 16;
constexpr double kMostWide = 0.25;        // of all vectors
constexpr std::size_t kAlikeShare = 512;  // one in so many: few enough that a group's sum is not their mean

/// Takes the first `size` vectors of a shuffle.
GateGroup draw(GroupKind kind, std::vector<std::size_t>& vectors, std::size_t size, std::mt19937_64& random) {
  GateGroup group{kind, {}};
  for (std::size_t i = 0; i < size; ++i) {
    std::swap(vectors[i], vectors[i + random() % (vectors.size() - i)]);
    const std::size_t width = kind == GroupKind::kWide ? random() % kWidths.size() : i % kWidths.size();
    group.choices.push_back({vectors[i], kWidths[width]});
  }
  return group;
}

/// Of the group `i` of `n`; `u` from [0, 1) is its place in its part of the range.
std::size_t wide_size(std::size_t n_vectors, std::size_t i, std::size_t n, double u) {
  const double most = std::max(1.0, kMostWide * static_cast<double>(n_vectors));
  const double least = std::min(kLeastWide, most);
  const double share = (static_cast<double>(i) + u) / static_cast<double>(n);
  return static_cast<std::size_t>(least * std::pow(most / least, share));
}

}  // namespace

std::string_view name(GroupKind kind) {
  return kind == GroupKind::kWide ? "wide" : "alike";
}

std::vector<GateGroup> draw_groups(std::size_t n_vectors, std::size_t n, std::uint64_t seed) {
  assert(n_vectors > 0);
  std::mt19937_64 random(seed);
  std::vector<std::size_t> vectors(n_vectors);
  std::iota(vectors.begin(), vectors.end(), std::size_t{0});
  std::vector<GateGroup> groups;
  for (std::size_t i = 0; i < n; ++i) {
    const double u = static_cast<double>(random() >> 11U) * 0x1p-53;
    groups.push_back(draw(GroupKind::kWide, vectors, wide_size(n_vectors, i, n, u), random));
  }
  const std::size_t alike = std::min(n_vectors, std::max(n_vectors / kAlikeShare, kWidths.size()));
  for (std::size_t i = 0; i < n; ++i) groups.push_back(draw(GroupKind::kAlike, vectors, alike, random));
  return groups;
}

}  // namespace miser::eval
