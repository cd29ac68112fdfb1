#include "eval/task_result.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <iterator>
#include <map>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "eval/task.h"
#include "eval/task_score.h"

namespace miser::eval {
namespace {

using nlohmann::json;

struct Metric {
  const char* name;
  Hit hit;
};

std::vector<Metric> metrics(const std::string& task) {
  if (task == "recall") return {{"acc", hit_acc}, {"exact", hit_exact}};
  const auto tasks = all_tasks();
  const auto found = std::find_if(tasks.begin(), tasks.end(), [&](const Task& t) { return t.name == task; });
  if (found != tasks.end() && !found->has_acc_norm) return {{"acc", hit_acc}};
  return {{"acc", hit_acc}, {"acc_norm", hit_acc_norm}};
}

/// Records that are counted together and the fields that say which they are.
struct Group {
  json fields = json::object();
  std::vector<Record> records;
};

/// Largest power of two that is at most `n`; n >= 1.
std::size_t floor_power(std::size_t n) {
  std::size_t power = 1;
  while (power <= n / 2) power *= 2;
  return power;
}

/// Recall: each kind of document by powers of two of the distance, then as a whole. Other tasks: one group.
std::vector<Group> groups(const TaskState& state) {
  if (!state.records.front().place) return {{json::object(), state.records}};
  std::map<std::pair<std::string, std::size_t>, std::vector<Record>> by_place;
  constexpr std::size_t kWhole = ~std::size_t{0};  // after every distance
  for (const Record& record : state.records) {
    if (!record.place) continue;
    by_place[{record.place->kind, floor_power(record.place->distance)}].push_back(record);
    by_place[{record.place->kind, kWhole}].push_back(record);
  }
  std::vector<Group> out;
  for (auto& [place, records] : by_place) {
    const auto& [kind, from] = place;
    out.push_back({{{"kind", kind}, {"distance", from == kWhole ? json(nullptr) : json{from, 2 * from}}},
                   std::move(records)});
  }
  return out;
}

using Cells = std::vector<std::string>;

/// Columns as wide as their widest cell, left-aligned.
std::string aligned(const std::vector<Cells>& rows) {
  std::vector<std::size_t> widths;
  for (const Cells& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Cells& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}  ", row[i], widths[i]);
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::size_t count_packed(const TaskState& state) {
  return static_cast<std::size_t>(std::count_if(state.records.begin(), state.records.end(),
                                                [](const Record& record) { return record.packed; }));
}

std::string describe_distance(const json& distance) {
  return distance.is_null() ? "all"
                            : fmt::format("{}..{}", distance[0].get<int>(), distance[1].get<int>() - 1);
}

Cells head(const Group& group, const std::vector<Metric>& columns) {
  Cells row;
  if (!group.fields.empty()) row = {"kind", "distance", "n"};
  row.insert(row.end(), {"kv", "bits"});
  for (const Metric& metric : columns)
    row.insert(row.end(), {fmt::format("{} [95 %]", metric.name), "against f16"});
  return row;
}

Cells table_row(const Group& group, const std::string& arm, const std::vector<Metric>& columns) {
  Cells row;
  if (!group.fields.empty()) {
    row = {group.fields.at("kind").get<std::string>(), describe_distance(group.fields.at("distance")),
           fmt::format("{}", group.records.size())};
  }
  row.insert(row.end(), {arm, fmt::format("{:.2f}", bits_per_element(group.records, arm))});
  for (const Metric& metric : columns) {
    const Share share = share_of(group.records, arm, metric.hit);
    row.push_back(share_text(share));
    row.push_back(arm == "f16" ? "" : difference_text(share));
  }
  return row;
}

}  // namespace

json task_result(const TaskState& state) {
  assert(!state.records.empty());
  json result = state.header;
  result.erase("miser_eval");
  result.erase("kv");
  result["done"] = state.records.size();
  result["packed_items"] = count_packed(state);
  const auto columns = metrics(state.header.at("task"));
  for (const Group& group : groups(state)) {
    for (const std::string arm : state.header.at("kv")) {
      json row = group.fields;
      row["kv"] = arm;
      row["n"] = group.records.size();
      row["bits_per_element"] = bits_per_element(group.records, arm);
      for (const Metric& metric : columns)
        add_share(row, metric.name, share_of(group.records, arm, metric.hit));
      result["rows"].push_back(std::move(row));
    }
  }
  return result;
}

std::string task_table(const TaskState& state) {
  assert(!state.records.empty());
  const auto columns = metrics(state.header.at("task"));
  std::vector<Cells> rows;
  for (const Group& group : groups(state)) {
    if (rows.empty()) rows.push_back(head(group, columns));
    for (const std::string arm : state.header.at("kv")) rows.push_back(table_row(group, arm, columns));
  }
  return fmt::format("{}: {} of {} items, packed tokens were read in {}; window {}, block {}\n{}",
                     state.header.at("task").get<std::string>(), state.records.size(),
                     state.header.at("items").get<std::size_t>(), count_packed(state),
                     state.header.at("kv_window").get<std::size_t>(),
                     state.header.at("kv_block").get<std::size_t>(), aligned(rows));
}

}  // namespace miser::eval
