#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "eval/frontier_result.h"
#include "eval/text_table.h"

namespace miser::eval {
namespace {

using nlohmann::json;
using Row = std::vector<std::string>;

/// A number that a row may lack or have as null.
std::string number(const json& row, const char* key, const char* format) {
  const auto found = row.find(key);
  if (found == row.end() || found->is_null()) return "-";
  return fmt::format(fmt::runtime(format), found->get<double>());
}

std::string with_interval(const json& row, const char* key) {
  return number(row, key, "{:.4g}") + interval_text(row.at("ci95").at(key), "{:.3g}");
}

Row cells(const json& row) {
  std::string arm = row.at("arm");
  if (row.contains("pairs"))
    arm += fmt::format(" ({}, {})", row["pairs"][0].get<std::string>(), row["pairs"][1].get<std::string>());
  return {arm,
          number(row, "stored_bits", "{:.3f}"),
          number(row, "bits_per_element", "{:.3f}"),
          with_interval(row, "kl_mean"),
          number(row, "kl_p99", "{:.3g}"),
          number(row, "top1", "{:.4f}"),
          number(row, "perplexity_ratio", "{:.5f}"),
          with_interval(row, "learned_ratio"),
          row.at("contexts").dump()};
}

std::string rows_of(const json& table, const json& budget) {
  std::vector<Row> rows = {
      {"arm", "bits", "of the cache", "KL mean", "p99", "top-1", "perplexity", "learned / arm", "contexts"}};
  for (const json& row : table.at("rows")) {
    if (row.at("budget") == budget) rows.push_back(cells(row));
  }
  return rows.size() == 1 ? "" : align(rows) + "\n";
}

std::string equal_bits(const json& table) {
  std::string text;
  for (const auto& [pair, bits] : table.at("equal").items())
    text += fmt::format("{}{} at {:.2f}", text.empty() ? "" : ", ", pair, bits.get<double>());
  return text.empty() ? "" : "learned reaches the KL of " + text + " bits\n";
}

}  // namespace

std::string frontier_table(const json& result) {
  std::string out = fmt::format(
      "{} contexts of {} tokens, positions from {}; window {}, block {}; plan {}\n"
      "KL from f16 in nats; bits per element of packed vectors, and of the whole cache; in brackets 95 % by "
      "bootstrap over contexts\n",
      result.at("done").get<std::size_t>(), result.at("context").get<std::size_t>(),
      result.at("skip").get<std::size_t>(), result.at("kv_window").get<std::size_t>(),
      result.at("kv_block").get<std::size_t>(), result.at("plan").at("name").get<std::string>());
  for (const json& table : result.at("tables")) {
    out += fmt::format("\n{}: {} contexts\n\n", table.at("text").get<std::string>(),
                       table.at("contexts").get<std::size_t>());
    out += rows_of(table, nullptr);
    for (const json& budget : result.at("budgets")) out += rows_of(table, budget);
    out += equal_bits(table);
  }
  return out;
}

}  // namespace miser::eval
