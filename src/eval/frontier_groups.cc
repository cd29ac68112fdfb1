#include "eval/frontier_groups.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "learn/fit_costs.h"

namespace miser::eval {
namespace {

/// Mean bits per element of the packed vectors of an arm; those that are exact count as 16 bits in its table.
double stored_bits(const ArmScores& scores, std::size_t packed, std::size_t head_dim) {
  const auto& at = scores.vectors_at;
  const auto total = std::accumulate(at.begin(), at.end(), std::uint64_t{0});
  double bits = 0;
  for (const kv::Width width : kv::kAllWidths) {
    std::uint64_t n = at[static_cast<std::size_t>(width)];
    if (width == kv::Width::k16) n -= total - packed;
    bits += static_cast<double>(n) * static_cast<double>(learn::stored_bits(width, head_dim));
  }
  return bits / static_cast<double>(packed);
}

FrontierSums sums_of(const ArmScores& scores, const ArmScores& f16) {
  FrontierSums sums;
  sums.n = static_cast<double>(scores.kl.size());
  for (std::size_t i = 0; i < scores.kl.size(); ++i) {
    sums.kl += static_cast<double>(scores.kl[i]);
    sums.top += scores.top[i] == '1' ? 1 : 0;
    sums.nll -= static_cast<double>(scores.logprob[i]);
    sums.more_nll += static_cast<double>(f16.logprob[i]) - static_cast<double>(scores.logprob[i]);
  }
  return sums;
}

/// Adds one run of one context.
void add(FrontierGroup& group, const ContextRecord& record, std::size_t arm, const nlohmann::json& header) {
  const ArmScores& scores = record.arms[arm];
  group.by_context[record.context] += sums_of(scores, record.arms[0]);
  group.kl.insert(group.kl.end(), scores.kl.begin(), scores.kl.end());
  group.stored_bits += stored_bits(scores, header.at("packed_vectors").get<std::size_t>(),
                                   header.at("head_dim").get<std::size_t>());
  group.cache_bits += 16 * static_cast<double>(scores.bytes) / static_cast<double>(record.bytes_f16);
  group.bytes += static_cast<double>(scores.bytes);
  const auto total = std::accumulate(scores.vectors_at.begin(), scores.vectors_at.end(), std::uint64_t{0});
  group.compressed += 1 - static_cast<double>(scores.vectors_at.back()) / static_cast<double>(total);
}

}  // namespace

FrontierSums& FrontierSums::operator+=(const FrontierSums& other) {
  n += other.n;
  kl += other.kl;
  top += other.top;
  nll += other.nll;
  more_nll += other.more_nll;
  return *this;
}

double FrontierGroup::mean_kl(std::span<const std::size_t> contexts) const {
  FrontierSums all;
  for (const std::size_t context : contexts) all += by_context.at(context);
  return all.kl / static_cast<double>(all.n);
}

double FrontierGroup::mean_kl() const {
  return std::accumulate(kl.begin(), kl.end(), 0.0) / static_cast<double>(kl.size());
}

std::vector<FrontierGroup> frontier_groups(const FrontierState& state, std::size_t first, std::size_t end) {
  std::vector<FrontierGroup> groups;
  for (const FrontierArm& arm : frontier_arms(state.header)) {
    if (groups.empty() || groups.back().arm.group() != arm.group()) groups.emplace_back().arm = arm;
    FrontierGroup& group = groups.back();
    const std::string label = arm.label();
    for (const FrontierRecord& record : state.records) {
      if (record.scores.context < first || record.scores.context >= end) continue;
      const auto found = std::find(record.arms.begin(), record.arms.end(), label);
      if (found != record.arms.end())
        add(group, record.scores, static_cast<std::size_t>(found - record.arms.begin()), state.header);
    }
  }
  std::erase_if(groups, [](const FrontierGroup& group) { return group.by_context.empty(); });
  const auto length = state.header.at("context").get<std::size_t>();
  const auto per_run = static_cast<double>(length - 1 - state.header.at("skip").get<std::size_t>());
  for (FrontierGroup& group : groups) {
    const double runs = static_cast<double>(group.kl.size()) / per_run;
    for (double* mean : {&group.stored_bits, &group.cache_bits, &group.bytes, &group.compressed})
      *mean /= runs;
  }
  return groups;
}

double FrontierMix::mean_kl(std::span<const std::size_t> contexts) const {
  const double a = low->mean_kl(contexts);
  const double b = high->mean_kl(contexts);
  return std::pow(a, 1 - share) * std::pow(b, share);
}

std::optional<FrontierMix> best_mix(const std::vector<const FrontierGroup*>& groups, double bits) {
  std::optional<FrontierMix> best;
  double best_kl = 0;
  const auto offer = [&](const FrontierMix& mix, double kl) {
    if (best && kl >= best_kl) return;
    best = mix;
    best_kl = kl;
  };
  for (const FrontierGroup* low : groups) {
    if (low->stored_bits > bits) continue;
    offer({low, low, 0}, low->mean_kl());
    for (const FrontierGroup* high : groups) {
      if (high->stored_bits <= bits) continue;
      const double share = (bits - low->stored_bits) / (high->stored_bits - low->stored_bits);
      offer({low, high, share}, std::pow(low->mean_kl(), 1 - share) * std::pow(high->mean_kl(), share));
    }
  }
  return best;
}

std::optional<double> bits_at(const std::vector<const FrontierGroup*>& groups, double kl) {
  for (std::size_t i = 1; i < groups.size(); ++i) {
    const double a = std::log(groups[i - 1]->mean_kl());
    const double b = std::log(groups[i]->mean_kl());
    const double at = std::log(kl);
    if (at > a || at < b || a == b) continue;
    const double share = (a - at) / (a - b);
    return groups[i - 1]->stored_bits + share * (groups[i]->stored_bits - groups[i - 1]->stored_bits);
  }
  return std::nullopt;
}

}  // namespace miser::eval
