#include "policy/policy.h"

#include <optional>

#include "base/error.h"
#include "policy/fixed.h"
#include "policy/random.h"
#include "policy/rule.h"

namespace miser::policy {
namespace {

std::optional<kv::Width> parse_width(std::string_view text) {
  for (const kv::Width width : kv::kAllWidths) {
    if (text == fmt::format("{}", bits(width))) return width;
  }
  return std::nullopt;
}

/// qN and kNvM.
std::unique_ptr<Policy> parse_fixed(std::string_view spec) {
  std::optional<kv::Width> k;
  std::optional<kv::Width> v;
  if (spec.starts_with('q')) {
    k = v = parse_width(spec.substr(1));
  } else if (const std::size_t at = spec.find('v'); spec.starts_with('k') && at != std::string_view::npos) {
    k = parse_width(spec.substr(1, at - 1));
    v = parse_width(spec.substr(at + 1));
  }
  if (!k || !v) return nullptr;
  return std::make_unique<Fixed>(*k, *v);
}

}  // namespace

std::unique_ptr<Policy> parse(std::string_view spec, const SignalHistory& history) {
  constexpr std::string_view kRandom = "random:";
  if (spec == "f16") return std::make_unique<Fixed>(kv::Width::k16, kv::Width::k16);
  if (spec == "rule") return std::make_unique<Rule>(history);
  if (spec.starts_with(kRandom)) return std::make_unique<Random>(spec.substr(kRandom.size()));
  if (auto fixed = parse_fixed(spec)) return fixed;
  fail_usage(
      "unknown KV policy '{}', expected f16, q8, q4, q3, q2, q1, kNvM with N and M of 1, 2, 3, 4, 8, 16, "
      "random:WIDTH=PERCENT,...[:SEED], or rule",
      spec);
}

}  // namespace miser::policy
