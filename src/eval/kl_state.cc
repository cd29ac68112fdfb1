#include "eval/kl_state.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace miser::eval {
namespace {

using nlohmann::json;

std::size_t n_scored(const json& header) {
  const auto context = header.at("context").get<std::size_t>();
  const auto skip = header.at("skip").get<std::size_t>();
  if (skip + 1 >= context) throw std::runtime_error("'skip' leaves nothing to score");
  return context - 1 - skip;
}

void add_line(KlState& state, std::string_view line) {
  json parsed = json::parse(line);
  if (state.header.is_null()) {
    if (!is_kl_header(parsed)) throw std::runtime_error("expected the header of miser eval kl");
    state.header = std::move(parsed);
    return;
  }
  ContextRecord record = to_context_record(parsed, state.header.at("kv").size(), n_scored(state.header));
  if (record.context >= state.header.at("contexts").get<std::size_t>())
    throw std::runtime_error(fmt::format("context {} is more than the run has", record.context));
  state.records.push_back(std::move(record));
}

bool by_context(const ContextRecord& a, const ContextRecord& b) {
  return a.context < b.context;
}

void check_complete(const KlState& all) {
  const auto n = all.header.at("contexts").get<std::size_t>();
  for (std::size_t i = 0; i < n; ++i) {
    if (i >= all.records.size() || all.records[i].context > i) fail("no state has context {} of {}", i, n);
    if (all.records[i].context < i) fail("context {} is in two states", all.records[i].context);
  }
  if (all.records.size() > n) fail("context {} is in two states", all.records.back().context);
}

}  // namespace

bool is_kl_header(const json& header) {
  return header.is_object() && header.contains("miser_eval") && header.value("task", json()) == "kl";
}

json read_state_header(const std::string& path) {
  const std::string text = read_state_text(path);
  const std::size_t end = text.find('\n');
  json header = json::parse(text.substr(0, end), nullptr, false);
  if (end == std::string::npos || !header.is_object() || !header.contains("miser_eval"))
    fail("{}:1: found no header of an evaluation's state", path);
  return header;
}

KlState read_kl_state(const std::string& path, std::size_t* complete_bytes) {
  KlState state;
  const std::size_t complete = read_state_lines(path, [&](std::string_view line) { add_line(state, line); });
  if (complete_bytes != nullptr) *complete_bytes = complete;
  if (state.header.is_null() && complete_bytes == nullptr) fail("{}: found no complete line", path);
  std::sort(state.records.begin(), state.records.end(), by_context);
  const auto twice = std::adjacent_find(state.records.begin(), state.records.end(),
                                        [](const auto& a, const auto& b) { return a.context == b.context; });
  if (twice != state.records.end()) fail("{}: found context {} twice", path, twice->context);
  return state;
}

KlState merge_kl_states(const std::vector<std::string>& paths) {
  KlState all;
  for (const std::string& path : paths) {
    KlState one = read_kl_state(path);
    one.header = whole_run(std::move(one.header));
    if (all.header.is_null()) all.header = one.header;
    if (one.header != all.header)
      fail("{}: no shard of the run in {}: {}", path, paths.front(),
           header_difference(one.header, all.header));
    std::move(one.records.begin(), one.records.end(), std::back_inserter(all.records));
  }
  std::sort(all.records.begin(), all.records.end(), by_context);
  check_complete(all);
  return all;
}

std::string state_lines(const KlState& state) {
  std::string lines = state_line(state.header);
  for (const ContextRecord& record : state.records) lines += state_line(to_json(record));
  return lines;
}

KlStateWriter::KlStateWriter(const std::string& path, KlState& state)
    : file_(path, state.header, [&](std::size_t& complete_bytes) {
        KlState found = read_kl_state(path, &complete_bytes);
        state.records = std::move(found.records);
        return found.header;
      }) {}

void KlStateWriter::add(const ContextRecord& record) {
  file_.write(to_json(record));
}

}  // namespace miser::eval
