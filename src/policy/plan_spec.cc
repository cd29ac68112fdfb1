#include "policy/plan_spec.h"

#include <fmt/format.h>

#include <charconv>

#include "base/error.h"
#include "policy/learned.h"
#include "policy/paper.h"
#include "policy/received.h"
#include "policy/static.h"

namespace miser::policy {
namespace {

constexpr float kMostBits = 16;

struct KindName {
  PlanSpec::Kind kind;
  std::string_view name;
};
constexpr KindName kKinds[] = {{PlanSpec::Kind::kLearned, "learned"},
                               {PlanSpec::Kind::kStatic, "static"},
                               {PlanSpec::Kind::kReceived, "received"},
                               {PlanSpec::Kind::kPaper, "paper"}};

float parse_bits(std::string_view spec, std::string_view text) {
  float bits = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bits);
  if (error != std::errc() || end != text.data() + text.size() || !(bits >= 1 && bits <= kMostBits))
    fail_usage("--kv {}: found a budget of '{}' bits, expected 1 to {}", spec, text, kMostBits);
  return bits;
}

float budget(const PlanSpec& spec, const Plan& plan) {
  const float bits = spec.bits.value_or(plan.default_bits);
  const float least = plan.stored_bits[static_cast<std::size_t>(plan.ladder.front())];
  if (bits < least)
    fail_usage(
        "--kv {}: found a budget of {} bits, expected {} to {}: the narrowest width of the plan takes {}",
        spec.text(), bits, least, kMostBits, least);
  return bits;
}

[[noreturn]] void fail_without(const PlanSpec& spec, std::string_view controller) {
  fail("--kv {}: the plan has no {} controller: train one with miser train --controller {}", spec.text(),
       controller, controller);
}

}  // namespace

std::string PlanSpec::text() const {
  std::string text;
  for (const KindName& known : kKinds) {
    if (known.kind == kind) text = known.name;
  }
  if (!file.empty()) text += ":" + file;
  if (bits) text += fmt::format("@{}", *bits);
  return text;
}

std::optional<PlanSpec> parse_plan_spec(std::string_view spec) {
  for (const KindName& known : kKinds) {
    if (!spec.starts_with(known.name)) continue;
    PlanSpec out;
    out.kind = known.kind;
    std::string_view rest = spec.substr(known.name.size());
    if (!rest.empty() && rest[0] != ':' && rest[0] != '@') return std::nullopt;
    if (const std::size_t at = rest.rfind('@'); at != rest.npos) {
      out.bits = parse_bits(spec, rest.substr(at + 1));
      rest = rest.substr(0, at);
    }
    if (out.bits && !out.takes_bits()) fail_usage("--kv {}: {} takes no budget", spec, known.name);
    if (!rest.empty()) out.file = rest.substr(1);
    if (!rest.empty() && out.file.empty()) fail_usage("--kv {}: expected a plan file after the colon", spec);
    return out;
  }
  return std::nullopt;
}

std::unique_ptr<Policy> make_policy(PlanSpec spec, const Plans& plans, const SignalHistory& history) {
  const auto plan = plans.get(spec.file);
  if (spec.kind == PlanSpec::Kind::kPaper) {
    if (!plan->paper) fail_without(spec, "paper");
    return std::make_unique<Paper>(plan, history, spec.text());
  }
  const float bits = budget(spec, *plan);
  spec.bits = bits;
  if (spec.kind == PlanSpec::Kind::kStatic) return std::make_unique<Static>(plan, bits, spec.text());
  if (spec.kind == PlanSpec::Kind::kReceived) return std::make_unique<Received>(plan, bits, spec.text());
  if (!plan->linear) fail_without(spec, "learned");
  return std::make_unique<Learned>(plan, bits, spec.text());
}

}  // namespace miser::policy
