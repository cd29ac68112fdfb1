#include "eval/kl_result.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <map>
#include <utility>

#include "eval/statistics.h"

namespace miser::eval {
namespace {

using nlohmann::json;

/// Sums over scored tokens.
struct Sums {
  double n = 0;
  double kl = 0;
  double top = 0;
  double nll = 0;  ///< negative log-likelihood, nats

  void add(const ArmScores& arm, std::size_t i) {
    n += 1;
    kl += static_cast<double>(arm.kl[i]);
    top += arm.top[i] == '1' ? 1 : 0;
    nll -= static_cast<double>(arm.logprob[i]);
  }
  void add(const Sums& other) {
    n += other.n;
    kl += other.kl;
    top += other.top;
    nll += other.nll;
  }
  json figures() const {
    return {{"n", static_cast<std::size_t>(n)},
            {"kl_mean", kl / n},
            {"top1", top / n},
            {"perplexity", std::exp(nll / n)}};
  }
};

/// One policy over all records.
struct Arm {
  std::vector<Sums> by_context;
  std::map<std::size_t, Sums> by_bucket;  ///< key: bit width of the position
  Sums all;
  std::vector<double> kl;
};

Arm collect(const KlState& state, std::size_t index) {
  const auto skip = state.header.at("skip").get<std::size_t>();
  Arm arm;
  for (const ContextRecord& record : state.records) {
    const ArmScores& scores = record.arms[index];
    Sums& sums = arm.by_context.emplace_back();
    for (std::size_t i = 0; i < scores.kl.size(); ++i) {
      sums.add(scores, i);
      arm.by_bucket[static_cast<std::size_t>(std::bit_width(skip + i))].add(scores, i);
    }
    arm.all.add(sums);
    arm.kl.insert(arm.kl.end(), scores.kl.begin(), scores.kl.end());
  }
  return arm;
}

json to_json(const Interval& interval) {
  return {interval.low, interval.high};
}

template <class F>
std::vector<double> each_context(const Arm& arm, F&& f) {
  std::vector<double> values;
  for (std::size_t i = 0; i < arm.by_context.size(); ++i) values.push_back(f(i));
  return values;
}

json intervals(const Arm& arm, const Arm& f16) {
  if (arm.by_context.size() < 2) return nullptr;
  const auto& c = arm.by_context;
  const auto n = each_context(arm, [&](std::size_t i) { return c[i].n; });
  const auto kl = each_context(arm, [&](std::size_t i) { return c[i].kl; });
  const auto top = each_context(arm, [&](std::size_t i) { return c[i].top; });
  const auto nll = each_context(arm, [&](std::size_t i) { return c[i].nll; });
  const auto more = each_context(arm, [&](std::size_t i) { return c[i].nll - f16.by_context[i].nll; });
  return {{"kl_mean", to_json(bootstrap_mean(kl, n))},
          {"top1", to_json(bootstrap_mean(top, n))},
          {"perplexity", to_json(bootstrap_exp_mean(nll, n))},
          {"perplexity_ratio", to_json(bootstrap_exp_mean(more, n))}};
}

json positions(const Arm& arm, std::size_t skip, std::size_t length) {
  json buckets = json::array();
  for (const auto& [width, sums] : arm.by_bucket) {
    const std::size_t low = width == 0 ? 0 : std::size_t{1} << (width - 1);
    json bucket = sums.figures();
    bucket["from"] = std::max(low, skip);
    bucket["to"] = std::min(std::size_t{1} << width, length - 1);
    buckets.push_back(std::move(bucket));
  }
  return buckets;
}

void add_cache(json& row, const KlState& state, std::size_t index) {
  double bytes = 0;
  double bytes_f16 = 0;
  std::array<std::uint64_t, kv::kWidthCount> at{};
  for (const ContextRecord& record : state.records) {
    bytes += static_cast<double>(record.arms[index].bytes);
    bytes_f16 += static_cast<double>(record.bytes_f16);
    for (std::size_t w = 0; w < at.size(); ++w) at[w] += record.arms[index].vectors_at[w];
  }
  std::uint64_t vectors = 0;
  for (std::size_t w = 0; w < at.size(); ++w) {
    row["vectors_at"][std::to_string(kv::bits(kv::kAllWidths[w]))] = at[w];
    vectors += at[w];
  }
  const auto n = static_cast<double>(state.records.size());
  row["bits_per_element"] = 16 * bytes / bytes_f16;
  row["bytes"] = bytes / n;
  row["bytes_f16"] = bytes_f16 / n;
  row["compressed_share"] = static_cast<double>(vectors - at.back()) / static_cast<double>(vectors);
}

}  // namespace

json kl_result(const KlState& state) {
  assert(!state.records.empty());
  json result = state.header;
  result.erase("miser_eval");
  const auto skip = result.at("skip").get<std::size_t>();
  const auto length = result.at("context").get<std::size_t>();
  const Arm f16 = collect(state, 0);
  result["done"] = state.records.size();
  result["n"] = static_cast<std::size_t>(f16.all.n);
  result["rows"] = json::array();
  for (std::size_t index = 0; index < result.at("kv").size(); ++index) {
    Arm arm = index == 0 ? f16 : collect(state, index);
    json row = arm.all.figures();
    row["kv"] = result["kv"][index];
    row["ci95"] = intervals(arm, f16);
    row["positions"] = positions(arm, skip, length);
    row["perplexity_ratio"] = std::exp((arm.all.nll - f16.all.nll) / arm.all.n);
    row["kl_median"] = quantile(arm.kl, 0.5);
    row["kl_p99"] = quantile(arm.kl, 0.99);
    row["kl_max"] = *std::max_element(arm.kl.begin(), arm.kl.end());
    add_cache(row, state, index);
    result["rows"].push_back(std::move(row));
  }
  return result;
}

std::string per_token_lines(const KlState& state) {
  const auto skip = state.header.at("skip").get<std::size_t>();
  const auto kv = state.header.at("kv").get<std::vector<std::string>>();
  std::string lines;
  for (const ContextRecord& record : state.records) {
    for (std::size_t i = 0; i < record.ids.size(); ++i) {
      json line = {{"context", record.context}, {"pos", skip + i}, {"id", record.ids[i]}};
      for (std::size_t arm = 0; arm < kv.size(); ++arm) {
        line["logprob"][kv[arm]] = record.arms[arm].logprob[i];
        line["kl"][kv[arm]] = record.arms[arm].kl[i];
      }
      lines += line.dump() + "\n";
    }
  }
  return lines;
}

}  // namespace miser::eval
