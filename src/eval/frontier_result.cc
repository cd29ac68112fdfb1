#include "eval/frontier_result.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "eval/frontier_groups.h"
#include "eval/statistics.h"

namespace miser::eval {
namespace {

using nlohmann::json;
using Groups = std::vector<const FrontierGroup*>;

template <class F>
Groups filter(const std::vector<FrontierGroup>& groups, F&& f) {
  Groups found;
  for (const FrontierGroup& group : groups) {
    if (f(group.arm)) found.push_back(&group);
  }
  return found;
}

/// Contexts that all of `groups` ran.
std::vector<std::size_t> common(const Groups& groups) {
  std::vector<std::size_t> contexts;
  for (const auto& [context, sums] : groups.front()->by_context) {
    if (std::all_of(groups.begin(), groups.end(),
                    [&, c = context](const FrontierGroup* group) { return group->by_context.contains(c); }))
      contexts.push_back(context);
  }
  return contexts;
}

/// The interval of a statistic of contexts; null for fewer than two.
json interval(const std::vector<std::size_t>& contexts,
              const std::function<double(std::span<const std::size_t>)>& statistic) {
  if (contexts.size() < 2) return nullptr;
  std::vector<std::size_t> drawn(contexts.size());
  const Interval found = bootstrap(contexts.size(), [&](std::span<const std::size_t> draw) {
    for (std::size_t i = 0; i < draw.size(); ++i) drawn[i] = contexts[draw[i]];
    return statistic(drawn);
  });
  return {found.low, found.high};
}

/// Adds KL of `learned` over that of `arm`, on the contexts that both ran.
void add_ratio(json& row, const FrontierMix& learned, const FrontierMix& arm) {
  const auto contexts = common({learned.low, learned.high, arm.low, arm.high});
  if (contexts.empty()) return;
  const auto ratio = [&](std::span<const std::size_t> drawn) {
    return learned.mean_kl(drawn) / arm.mean_kl(drawn);
  };
  row["learned_ratio"] = ratio(contexts);
  row["ci95"]["learned_ratio"] = interval(contexts, ratio);
}

FrontierMix alone(const FrontierGroup& group) {
  return {&group, &group, 0};
}

json figures(const FrontierGroup& group) {
  FrontierSums all;
  std::vector<std::size_t> contexts;
  for (const auto& [context, sums] : group.by_context) {
    contexts.push_back(context);
    all += sums;
  }
  json row = {{"arm", group.arm.group()},
              {"kind", name(group.arm.kind)},
              {"budget", group.arm.bits ? json(*group.arm.bits) : json(nullptr)},
              {"contexts", contexts.size()},
              {"n", static_cast<std::size_t>(all.n)},
              {"stored_bits", group.stored_bits},
              {"bits_per_element", group.cache_bits},
              {"bytes", group.bytes},
              {"compressed_share", group.compressed},
              {"kl_mean", all.kl / all.n},
              {"kl_median", quantile(group.kl, 0.5)},
              {"kl_p99", quantile(group.kl, 0.99)},
              {"top1", all.top / all.n},
              {"perplexity", std::exp(all.nll / all.n)},
              {"perplexity_ratio", std::exp(all.more_nll / all.n)},
              {"learned_ratio", nullptr}};
  row["ci95"] = {{"kl_mean", interval(contexts, [&](auto drawn) { return group.mean_kl(drawn); })},
                 {"learned_ratio", nullptr}};
  return row;
}

json best_fixed(const FrontierMix& mix, const FrontierGroup& learned) {
  std::vector<std::size_t> contexts = common({mix.low, mix.high});
  json row = {{"arm", "best fixed@" + json(*learned.arm.bits).dump()},
              {"kind", "best fixed"},
              {"budget", *learned.arm.bits},
              {"pairs", {mix.low->arm.group(), mix.high->arm.group()}},
              {"contexts", contexts.size()},
              {"stored_bits", learned.stored_bits},
              {"kl_mean", mix.mean_kl(contexts)},
              {"learned_ratio", nullptr}};
  row["ci95"] = {{"kl_mean", interval(contexts, [&](auto drawn) { return mix.mean_kl(drawn); })},
                 {"learned_ratio", nullptr}};
  add_ratio(row, alone(learned), mix);
  return row;
}

/// Learned at the budget of `arm`, or at its own bits if it has no budget.
std::optional<FrontierMix> opponent(const FrontierArm& arm, double bits, const Groups& learned) {
  if (!arm.bits) return best_mix(learned, bits);
  for (const FrontierGroup* group : learned) {
    if (group->arm.bits == arm.bits) return alone(*group);
  }
  return std::nullopt;
}

json table(const FrontierState& state, const std::string& text, std::size_t first, std::size_t end) {
  const std::vector<FrontierGroup> groups = frontier_groups(state, first, end);
  const Groups learned = filter(groups, [](const auto& arm) { return arm.kind == ArmKind::kLearned; });
  const Groups fixed = filter(groups, [](const auto& arm) { return is_fixed(arm.kind); });
  const auto in_range = [&](const FrontierRecord& record) {
    return record.scores.context >= first && record.scores.context < end;
  };
  json out = {{"text", text},
              {"contexts", std::count_if(state.records.begin(), state.records.end(), in_range)},
              {"rows", json::array()},
              {"equal", json::object()}};
  for (const FrontierGroup& group : groups) {
    json row = figures(group);
    const auto ours = opponent(group.arm, group.stored_bits, learned);
    if (ours && group.arm.kind != ArmKind::kLearned) add_ratio(row, *ours, alone(group));
    out["rows"].push_back(std::move(row));
  }
  for (const FrontierGroup* group : learned) {
    if (const auto mix = best_mix(fixed, group->stored_bits)) out["rows"].push_back(best_fixed(*mix, *group));
  }
  for (const FrontierGroup* group : fixed) {
    if (const auto bits = bits_at(learned, group->mean_kl())) out["equal"][group->arm.group()] = *bits;
  }
  return out;
}

}  // namespace

json frontier_result(const FrontierState& state) {
  assert(!state.records.empty());
  json result = state.header;
  result.erase("miser_eval");
  result["done"] = state.records.size();
  result["tables"] = json::array();
  std::size_t first = 0;
  for (const json& text : state.header.at("texts")) {
    const std::size_t end = first + text.at("contexts").get<std::size_t>();
    json one = table(state, text.at("name"), first, end);
    if (one.at("contexts") != 0) result["tables"].push_back(std::move(one));
    first = end;
  }
  if (result["tables"].size() > 1) result["tables"].push_back(table(state, "all texts", 0, first));
  return result;
}

}  // namespace miser::eval
