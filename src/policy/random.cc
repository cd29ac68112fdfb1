#include "policy/random.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "base/error.h"

namespace miser::policy {
namespace {

/// Steele, Lea & Flood 2014.
std::uint64_t splitmix64(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

template <typename T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

std::size_t width_index(int wanted) {
  for (const kv::Width width : kv::kAllWidths) {
    if (bits(width) == wanted) return static_cast<std::size_t>(width);
  }
  fail_usage("--kv random: found a width of {} bits, expected one of 1, 2, 3, 4, 8, 16", wanted);
}

}  // namespace

Random::Random(std::string_view spec) {
  const std::size_t colon = spec.find(':');
  if (colon != std::string_view::npos && !parse_number(spec.substr(colon + 1), seed_)) {
    fail_usage("--kv random: found seed '{}', expected a whole number", spec.substr(colon + 1));
  }
  parse_shares(spec.substr(0, colon));
  double sum = 0;
  for (std::size_t w = 0; w < kv::kWidthCount; ++w) {
    sum += shares_[w];
    cumulative_[w] = sum / 100;
  }
  if (std::abs(sum - 100) > 1e-6) fail_usage("--kv random: shares sum to {}, expected 100", sum);
  cumulative_.back() = 1;
}

void Random::parse_shares(std::string_view shares) {
  while (!shares.empty()) {
    const std::string_view item = shares.substr(0, shares.find(','));
    shares.remove_prefix(std::min(item.size() + 1, shares.size()));
    const std::size_t equals = item.find('=');
    int width = 0;
    double share = 0;
    const bool parsed = equals != std::string_view::npos && parse_number(item.substr(0, equals), width) &&
                        parse_number(item.substr(equals + 1), share);
    if (!parsed || !(share >= 0 && share <= 100)) {
      fail_usage("--kv random: found '{}', expected WIDTH=PERCENT", item);
    }
    shares_[width_index(width)] += share;
  }
}

std::string Random::name() const {
  std::string text = "random:";
  for (std::size_t w = 0; w < kv::kWidthCount; ++w) {
    if (shares_[w] == 0) continue;
    fmt::format_to(std::back_inserter(text), "{}{}={}", text.back() == ':' ? "" : ",",
                   bits(kv::kAllWidths[w]), shares_[w]);
  }
  return fmt::format("{}:{}", text, seed_);
}

kv::Width Random::widest() const {
  std::size_t w = kv::kWidthCount - 1;
  while (shares_[w] == 0) --w;
  return kv::kAllWidths[w];
}

kv::Width Random::draw(std::size_t layer, std::size_t head, std::size_t side, std::size_t position) const {
  std::uint64_t hash = splitmix64(seed_);
  for (const std::uint64_t key : {layer, head, side, position}) hash = splitmix64(hash ^ key);
  const double u = static_cast<double>(hash >> 11) * 0x1.0p-53;
  std::size_t w = 0;
  while (u >= cumulative_[w]) ++w;
  return kv::kAllWidths[w];
}

void Random::choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) {
  for (std::size_t head = 0; head < block.n_kv_heads; ++head) {
    for (std::size_t i = 0; i < block.n_tokens; ++i) {
      const std::size_t at = head * block.n_tokens + i;
      widths.k[at] = draw(block.layer, head, 0, block.first_position + i);
      widths.v[at] = draw(block.layer, head, 1, block.first_position + i);
    }
  }
}

}  // namespace miser::policy
