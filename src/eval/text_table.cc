#include "eval/text_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace miser::eval {

std::string align(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows[0].size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line = fmt::format("{:<{}}", row[0], widths[0]);
    for (std::size_t i = 1; i < row.size(); ++i) line += fmt::format("  {:>{}}", row[i], widths[i]);
    out += line + "\n";
  }
  return out;
}

std::string interval_text(const nlohmann::json& interval, const char* format) {
  if (interval.is_null()) return "";
  const auto bound = [&](std::size_t i) {
    return fmt::format(fmt::runtime(format), interval.at(i).get<double>());
  };
  return fmt::format(" [{}, {}]", bound(0), bound(1));
}

}  // namespace miser::eval
