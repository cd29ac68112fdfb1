#include "eval/task_state.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace miser::eval {
namespace {

using nlohmann::json;

json to_json(const Record& r) {
  json out = {{"item", r.item},
              {"label", r.label},
              {"characters", r.characters},
              {"bytes_f16", r.bytes_f16},
              {"packed", r.packed}};
  if (r.place)
    out["place"] = {{"kind", r.place->kind}, {"length", r.place->length}, {"distance", r.place->distance}};
  for (const auto& [name, arm] : r.arms) {
    out["logprobs"][name] = arm.logprobs;
    out["exact"][name] = arm.exact;
    out["bytes"][name] = arm.bytes;
  }
  return out;
}

Record to_record(const json& in) {
  Record r;
  r.item = in.at("item").get<std::size_t>();
  r.label = in.at("label").get<std::size_t>();
  r.characters = in.at("characters").get<std::vector<std::size_t>>();
  r.bytes_f16 = in.at("bytes_f16").get<std::size_t>();
  r.packed = in.at("packed").get<bool>();
  if (in.contains("place")) {
    const json& place = in.at("place");
    r.place = {place.at("kind").get<std::string>(), place.at("length").get<std::size_t>(),
               place.at("distance").get<std::size_t>()};
    if (r.place->distance == 0) throw std::runtime_error("a distance is 0");
  }
  for (const auto& [name, logprobs] : in.at("logprobs").items()) {
    ArmRecord arm{logprobs.get<std::vector<double>>(), in.at("exact").at(name).get<bool>(),
                  in.at("bytes").at(name).get<std::size_t>()};
    if (arm.logprobs.size() != r.characters.size()) throw std::runtime_error("endings differ in number");
    r.arms.emplace(name, std::move(arm));
  }
  if (r.label >= r.characters.size()) throw std::runtime_error("the label is out of range");
  return r;
}

bool by_item(const Record& a, const Record& b) {
  return a.item < b.item;
}

void check_policies(const TaskState& state, const Record& record) {
  const json& kv = state.header.at("kv");
  const bool same = record.arms.size() == kv.size() && std::all_of(kv.begin(), kv.end(), [&](const json& k) {
                      return record.arms.contains(k.get<std::string>());
                    });
  if (!same) throw std::runtime_error("its policies are not those of the first line");
}

void add_line(TaskState& state, std::string_view line) {
  json parsed = json::parse(line);
  if (!state.header.is_null()) {
    state.records.push_back(to_record(parsed));
    return check_policies(state, state.records.back());
  }
  if (!parsed.is_object() || !parsed.contains("miser_eval") || !parsed.at("kv").is_array())
    throw std::runtime_error("it does not begin a state of miser eval");
  state.header = std::move(parsed);
}

}  // namespace

TaskState read_state(const std::string& path, std::size_t* complete_bytes) {
  TaskState state;
  const std::size_t complete = read_state_lines(path, [&](std::string_view line) { add_line(state, line); });
  if (complete_bytes != nullptr) *complete_bytes = complete;
  if (state.header.is_null() && complete_bytes == nullptr) fail("{}: found no complete line", path);
  std::sort(state.records.begin(), state.records.end(), by_item);
  const auto twice = std::adjacent_find(state.records.begin(), state.records.end(),
                                        [](const Record& a, const Record& b) { return a.item == b.item; });
  if (twice != state.records.end()) fail("{}: found item {} twice", path, twice->item);
  return state;
}

TaskState merge_states(const std::vector<std::string>& paths) {
  TaskState all;
  for (const std::string& path : paths) {
    TaskState one = read_state(path);
    one.header = whole_run(std::move(one.header));
    if (all.header.is_null()) all.header = one.header;
    if (one.header != all.header)
      fail("{}: not a shard of the run in {}: {}", path, paths.front(),
           header_difference(one.header, all.header));
    for (Record& record : one.records) all.records.push_back(std::move(record));
  }
  std::sort(all.records.begin(), all.records.end(), by_item);
  const auto expected = all.header.value("items", std::size_t{0});
  for (std::size_t i = 0; i < std::max(expected, all.records.size()); ++i) {
    if (i >= all.records.size() || all.records[i].item > i) fail("no state has item {} of {}", i, expected);
    if (all.records[i].item < i) fail("item {} is in two states", all.records[i].item);
    if (i >= expected) fail("found item {}, expected {} items", all.records[i].item, expected);
  }
  return all;
}

std::string state_lines(const TaskState& state) {
  std::string lines = state_line(state.header);
  for (const Record& record : state.records) lines += state_line(to_json(record));
  return lines;
}

StateWriter::StateWriter(const std::string& path, const json& header, std::vector<Record>& done)
    : file_(path, header, [&](std::size_t& complete_bytes) {
        TaskState found = read_state(path, &complete_bytes);
        done = std::move(found.records);
        return found.header;
      }) {}

void StateWriter::add(const Record& record) {
  file_.write(to_json(record));
}

}  // namespace miser::eval
