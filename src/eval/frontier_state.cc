#include "eval/frontier_state.h"

#include <algorithm>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace miser::eval {
namespace {

using nlohmann::json;

std::size_t total_contexts(const json& header) {
  std::size_t n = 0;
  for (const json& text : header.at("texts")) n += text.at("contexts").get<std::size_t>();
  return n;
}

void add_line(FrontierState& state, std::string_view line) {
  json parsed = json::parse(line);
  if (state.header.is_null()) {
    if (!parsed.is_object() || parsed.value("task", json()) != "frontier")
      throw std::runtime_error("expected the header of miser eval frontier");
    state.header = std::move(parsed);
    return;
  }
  const auto length = state.header.at("context").get<std::size_t>();
  const auto skip = state.header.at("skip").get<std::size_t>();
  if (skip + 1 >= length) throw std::runtime_error("'skip' leaves nothing to score");
  FrontierRecord record = to_frontier_record(parsed, length - 1 - skip);
  const std::size_t context = record.scores.context;
  if (context >= total_contexts(state.header))
    throw std::runtime_error(fmt::format("context {} is more than the run has", context));
  for (const FrontierRecord& other : state.records) {
    if (other.scores.context == context) throw std::runtime_error(fmt::format("context {} again", context));
  }
  state.records.push_back(std::move(record));
}

}  // namespace

std::vector<FrontierArm> frontier_arms(const json& header) {
  std::vector<ArmKind> kinds;
  for (const json& kind : header.at("arms")) kinds.push_back(arm_kind(kind.get<std::string>()));
  return frontier_arms(kinds, header.at("budgets").get<std::vector<double>>(),
                       header.at("seeds").get<std::size_t>());
}

FrontierWriter::FrontierWriter(const std::string& path, FrontierState& state)
    : file_(path, state.header, [&](std::size_t& complete_bytes) {
        FrontierState found;
        complete_bytes = read_state_lines(path, [&](std::string_view line) { add_line(found, line); });
        state.records = std::move(found.records);
        return found.header;
      }) {}

}  // namespace miser::eval
