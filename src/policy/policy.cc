#include "policy/policy.h"

#include <optional>

#include "base/error.h"
#include "policy/fixed.h"
#include "policy/plan_spec.h"
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

/// Those that need no plan.
std::unique_ptr<Policy> parse_plain(std::string_view spec, const SignalHistory& history) {
  constexpr std::string_view kRandom = "random:";
  if (spec == "f16") return std::make_unique<Fixed>(kv::Width::k16, kv::Width::k16);
  if (spec == "rule") return std::make_unique<Rule>(history);
  if (spec.starts_with(kRandom)) return std::make_unique<Random>(spec.substr(kRandom.size()));
  if (auto fixed = parse_fixed(spec)) return fixed;
  fail_usage(
      "unknown KV policy '{}', expected f16, q8, q4, q3, q2, q1, kNvM with N and M of 1, 2, 3, 4, 8, 16, "
      "random:WIDTH=PERCENT,...[:SEED], rule, learned, static or received with [:PLAN][@BITS], or "
      "paper[:PLAN]",
      spec);
}

}  // namespace

std::unique_ptr<Policy> parse(std::string_view spec, const SignalHistory& history, const Plans* plans) {
  const auto of_plan = parse_plan_spec(spec);
  if (!of_plan) return parse_plain(spec, history);
  const Plans none({.name = "MODEL"}, nullptr, false);
  return make_policy(*of_plan, plans != nullptr ? *plans : none, history);
}

std::string canonical(std::string_view spec, std::optional<float> bits) {
  if (auto of_plan = parse_plan_spec(spec)) {
    if (of_plan->takes_bits() && !of_plan->bits) of_plan->bits = bits;
    return of_plan->text();
  }
  return parse_plain(spec, {})->name();
}

bool is_fixed(std::string_view spec) {
  return !parse_plan_spec(spec) && dynamic_cast<const Fixed*>(parse_plain(spec, {}).get()) != nullptr;
}

}  // namespace miser::policy
