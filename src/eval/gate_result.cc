#include "eval/gate_result.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

#include "eval/statistics.h"
#include "eval/text_table.h"
#include "learn/correlation.h"
#include "learn/spread.h"

namespace miser::eval {
namespace {

using nlohmann::json;
using Prediction = double GatePoint::*;
using Statistic = double (*)(const std::vector<double>& predicted, const std::vector<double>& measured);

double pearson_log(const std::vector<double>& predicted, const std::vector<double>& measured) {
  const auto log = [](std::vector<double> values) {
    for (double& x : values) x = std::log(std::max(x, std::numeric_limits<double>::min()));
    return values;
  };
  return learn::pearson(log(predicted), log(measured));
}

double median_ratio(const std::vector<double>& predicted, const std::vector<double>& measured) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < predicted.size(); ++i)
    ratios.push_back(predicted[i] / std::max(measured[i], std::numeric_limits<double>::min()));
  return quantile(ratios, 0.5);
}

/// The statistic of the groups of one kind, and its interval.
void add(json& row, const char* key, const std::vector<GateRecord>& records, GroupKind kind,
         Prediction prediction, Statistic statistic) {
  const auto of = [&](std::span<const std::size_t> contexts) {
    std::vector<double> predicted;
    std::vector<double> measured;
    for (const std::size_t context : contexts) {
      for (const GatePoint& point : records[context].points) {
        if (point.kind != kind) continue;
        predicted.push_back(point.*prediction);
        measured.push_back(point.measured);
      }
    }
    return statistic(predicted, measured);
  };
  std::vector<std::size_t> all(records.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  row[key] = of(all);
  row["ci95"][key] = nullptr;
  if (records.size() < 2) return;
  const Interval interval = bootstrap(records.size(), of);
  row["ci95"][key] = {interval.low, interval.high};
}

json figures(const std::vector<GateRecord>& records, GroupKind kind) {
  std::vector<double> vectors;
  std::vector<double> measured;
  for (const GateRecord& record : records) {
    for (const GatePoint& point : record.points) {
      if (point.kind != kind) continue;
      vectors.push_back(static_cast<double>(point.n_vectors));
      measured.push_back(point.measured);
    }
  }
  const auto range = [](const std::vector<double>& values) {
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    return json{*low, *high};
  };
  json out = {{"n", vectors.size()}, {"vectors", range(vectors)}, {"measured", range(measured)}};
  const auto add_all = [&](const char* key, Prediction prediction) {
    add(out[key], "spearman", records, kind, prediction,
        [](const auto& a, const auto& b) { return learn::spearman(a, b); });
    add(out[key], "pearson_log", records, kind, prediction, pearson_log);
    add(out[key], "ratio", records, kind, prediction, median_ratio);
  };
  add_all("traced", &GatePoint::traced);
  add_all("predicted", &GatePoint::predicted);
  return out;
}

json spread_json(const std::vector<GateRecord>& records) {
  learn::Sensitivities traced;
  learn::Sensitivities predicted;
  for (const GateRecord& record : records) {
    traced.append(record.traced);
    predicted.append(record.predicted);
  }
  const auto sides = learn::spread(traced);
  const auto correlation = learn::correlation_within_heads(traced, predicted);
  json out;
  for (std::size_t side = 0; side < 2; ++side) {
    out[side == 0 ? "k" : "v"] = {
        {"within", sides[side].within}, {"between", sides[side].between}, {"correlation", correlation[side]}};
  }
  return out;
}

std::string figure_with_interval(const json& row, const char* key) {
  return fmt::format("{:.3f}", row.at(key).get<double>()) + interval_text(row.at("ci95").at(key), "{:.3f}");
}

}  // namespace

json gate_result(const json& header, const std::vector<GateRecord>& records) {
  assert(!records.empty());
  json result = header;
  result["done"] = records.size();
  for (const GroupKind kind : kGroupKinds) result["groups"][std::string(name(kind))] = figures(records, kind);
  result["passed"] = result["groups"]["wide"]["traced"]["spearman"].get<double>() >= kGate;
  result["spread"] = spread_json(records);
  result["points"] = json::array();
  for (std::size_t context = 0; context < records.size(); ++context) {
    for (const GatePoint& point : records[context].points) {
      result["points"].push_back({{"context", context},
                                  {"groups", name(point.kind)},
                                  {"vectors", point.n_vectors},
                                  {"measured", point.measured},
                                  {"traced", point.traced},
                                  {"predicted", point.predicted}});
    }
  }
  return result;
}

std::string gate_table(const json& result) {
  std::string out = fmt::format(
      "{} contexts of {} tokens; window {}, block {}; {} samples; plan {}\n"
      "KL from f16 of quantising groups of vectors at random widths, in nats a token: measured, and the sum "
      "of "
      "sensitivity * error\nin brackets 95 % by bootstrap over contexts\n\n",
      result.at("done").get<std::size_t>(), result.at("context").get<std::size_t>(),
      result.at("kv_window").get<std::size_t>(), result.at("kv_block").get<std::size_t>(),
      result.at("samples").get<std::size_t>(), result.at("plan").at("name").get<std::string>());
  std::vector<std::vector<std::string>> rows = {{"groups", "n", "vectors", "measured KL", "sensitivities",
                                                 "Spearman", "Pearson of ln", "sum / measured"}};
  for (const GroupKind kind : kGroupKinds) {
    const json& of = result.at("groups").at(std::string(name(kind)));
    for (const char* sensitivities : {"traced", "predicted"}) {
      const json& row = of.at(sensitivities);
      rows.push_back(
          {std::string(name(kind)), of.at("n").dump(),
           fmt::format("{} to {}", of["vectors"][0].get<double>(), of["vectors"][1].get<double>()),
           fmt::format("{:.2g} to {:.2g}", of["measured"][0].get<double>(), of["measured"][1].get<double>()),
           sensitivities, figure_with_interval(row, "spearman"), figure_with_interval(row, "pearson_log"),
           figure_with_interval(row, "ratio")});
    }
  }
  out += align(rows);
  out += fmt::format("\ngate: Spearman of wide groups by traced sensitivities at least {}: {}\n\n", kGate,
                     result.at("passed").get<bool>() ? "passed" : "failed");
  std::vector<std::vector<std::string>> spread = {{"ln s", "deviation within heads", "between heads",
                                                   "correlation of predicted and traced within heads"}};
  for (const auto& [side, row] : result.at("spread").items()) {
    spread.push_back({side == "k" ? "K" : "V", fmt::format("{:.2f}", row.at("within").get<double>()),
                      fmt::format("{:.2f}", row.at("between").get<double>()),
                      fmt::format("{:.3f}", row.at("correlation").get<double>())});
  }
  return out + align(spread);
}

}  // namespace miser::eval
