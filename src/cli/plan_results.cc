#include "cli/plan_results.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "eval/text_table.h"
#include "gguf/printable.h"

namespace miser::cli {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* kJudgedBy[] = {"best fixed", "rule",     "paper", "static",
                                     "learned",    "shuffled", "oracle"};

bool is_judged_by(const json& row) {
  for (const char* kind : kJudgedBy) {
    if (row.at("kind") == kind) return true;
  }
  return false;
}

std::string number(const ordered_json& row, const char* key, const char* format) {
  return row.at(key).is_null() ? "-" : fmt::format(fmt::runtime(format), row.at(key).get<double>());
}

std::string text_table(const ordered_json& text) {
  std::vector<std::vector<std::string>> rows = {{"  arm", "bits", "KL", "perplexity", "learned / arm"}};
  for (const ordered_json& row : text.at("rows")) {
    rows.push_back({"  " + gguf::printable(row.at("arm").get<std::string>()), number(row, "bits", "{:.2f}"),
                    number(row, "kl", "{:.3g}"), number(row, "perplexity_ratio", "{:.4f}"),
                    number(row, "learned_ratio", "{:.3g}") +
                        eval::interval_text(json(row.at("learned_ratio_ci95")), "{:.3g}")});
  }
  return eval::align(rows);
}

std::string frontier_text(const ordered_json& frontier) {
  std::string out;
  for (const ordered_json& text : frontier.at("texts")) {
    out += fmt::format("\nMeasured on {}, {} contexts of {} tokens from position {}: KL from f16 in nats\n{}",
                       gguf::printable(text.at("text").get<std::string>()),
                       text.at("contexts").get<std::size_t>(), frontier.at("context").get<std::size_t>(),
                       frontier.at("skip").get<std::size_t>(), text_table(text));
  }
  return out;
}

/// Whether `key` of score_json() has an arm's costs at each budget.
bool is_arm(const std::string& key) {
  return key != "bits" && key != "fixed_cost" && key != "paper" && key != "correlation_within_heads";
}

}  // namespace

ordered_json score_json(const learn::PlanScore& score) {
  ordered_json out = {{"bits", score.budgets}, {"fixed_cost", score.fixed_cost}};
  for (const auto& arm : score.arms) out[arm.name] = arm.relative_cost;
  if (score.paper) out["paper"] = {{"bits", score.paper->bits}, {"cost", score.paper->relative_cost}};
  if (!score.correlation.empty()) out["correlation_within_heads"] = score.correlation;
  return out;
}

ordered_json frontier_summary(const json& frontier) {
  ordered_json out;
  for (const char* key : {"context", "skip", "kv_window", "kv_block", "seeds", "samples"})
    out[key] = frontier.at(key);
  out["texts"] = ordered_json::array();
  for (const json& table : frontier.at("tables")) {
    ordered_json text = {{"text", table.at("text")},
                         {"contexts", table.at("contexts")},
                         {"rows", ordered_json::array()},
                         {"equal", table.at("equal")}};
    for (const json& row : table.at("rows")) {
      if (!is_judged_by(row)) continue;
      text["rows"].push_back({{"arm", row.at("arm")},
                              {"bits", row.at("stored_bits")},
                              {"kl", row.at("kl_mean")},
                              {"kl_ci95", row.at("ci95").at("kl_mean")},
                              {"perplexity_ratio", row.value("perplexity_ratio", json())},
                              {"learned_ratio", row.at("learned_ratio")},
                              {"learned_ratio_ci95", row.at("ci95").at("learned_ratio")}});
    }
    out["texts"].push_back(std::move(text));
  }
  return out;
}

std::string with_result(const std::string& results, std::string_view key, ordered_json value) {
  ordered_json all = ordered_json::parse(results, nullptr, false);
  if (!all.is_object()) all = ordered_json::object();
  all[std::string(key)] = std::move(value);
  return all.dump();
}

std::string score_table(const ordered_json& score) {
  std::string table =
      "\nexpected cost on held-out text, relative to fixed pairs of widths at the same bytes\n";
  table += fmt::format("{:>10}", "bits");
  for (const double bits : score.at("bits")) table += fmt::format("{:>9.2f}", bits);
  for (const auto& [key, costs] : score.items()) {
    if (!is_arm(key)) continue;
    table += fmt::format("\n{:>10}", gguf::printable(key));
    for (const double cost : costs) table += fmt::format("{:>9.4f}", cost);
  }
  if (score.contains("paper"))
    table +=
        fmt::format("\n{:>10}{:>9.4f} at {:.2f} bits", "paper", score.at("paper").at("cost").get<double>(),
                    score.at("paper").at("bits").get<double>());
  if (score.contains("correlation_within_heads")) {
    const ordered_json& correlation = score.at("correlation_within_heads");
    table += fmt::format("\ncorrelation of ln s within heads: K {:.3f}, V {:.3f}",
                         correlation.at(0).get<double>(), correlation.at(1).get<double>());
  }
  return table + "\n";
}

std::string results_text(const std::string& results) {
  if (results.empty()) return "";
  try {
    const ordered_json all = ordered_json::parse(results);
    std::string out;
    if (all.contains("held_out")) out += score_table(all.at("held_out"));
    if (all.contains("frontier")) out += frontier_text(all.at("frontier"));
    if (!out.empty()) return out;
  } catch (const ordered_json::exception&) {  // not ours
  }
  return fmt::format("\nResults\n  {}\n", gguf::printable(results, 400));
}

}  // namespace miser::cli
