#include "eval/kl_state.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace miser::eval {
namespace {

using nlohmann::json;

std::string read_file(const std::string& path) {
  if (!std::filesystem::is_regular_file(path)) fail("{}: is no regular file, expected a state", path);
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (file.bad() || !file.is_open()) fail("{}: cannot be read: {}", path, std::strerror(errno));
  return text;
}

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

json without_shard(json header) {
  header.erase("shard");
  return header;
}

/// The first field in which two headers differ, for a message.
std::string difference(const json& found, const json& expected) {
  for (const auto& [key, value] : expected.items()) {
    if (found.contains(key) && found.at(key) == value) continue;
    return fmt::format("{} is {}, expected {}", key, found.contains(key) ? found.at(key).dump() : "missing",
                       value.dump());
  }
  return "it has more fields";
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
  const std::string text = read_file(path);
  const std::size_t end = text.find('\n');
  json header = json::parse(text.substr(0, end), nullptr, false);
  if (end == std::string::npos || !header.is_object() || !header.contains("miser_eval"))
    fail("{}:1: found no header of an evaluation's state", path);
  return header;
}

KlState read_kl_state(const std::string& path, std::size_t* complete_bytes) {
  const std::string text = read_file(path);
  KlState state;
  std::size_t at = 0;
  std::size_t n = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', at)) {
    ++n;
    try {
      add_line(state, std::string_view(text).substr(at, end - at));
    } catch (const std::exception& e) {
      fail("{}:{}: not a line of an evaluation's state: {}", path, n, e.what());
    }
    at = end + 1;
  }
  if (complete_bytes != nullptr) *complete_bytes = at;
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
    one.header = without_shard(std::move(one.header));
    if (all.header.is_null()) all.header = one.header;
    if (one.header != all.header)
      fail("{}: no shard of the run in {}: {}", path, paths.front(), difference(one.header, all.header));
    std::move(one.records.begin(), one.records.end(), std::back_inserter(all.records));
  }
  std::sort(all.records.begin(), all.records.end(), by_context);
  check_complete(all);
  return all;
}

KlStateWriter::KlStateWriter(std::string path, KlState& state) : path_(std::move(path)) {
  std::size_t complete = 0;
  if (std::filesystem::exists(path_)) {
    KlState found = read_kl_state(path_, &complete);
    if (complete > 0 && found.header != state.header)
      fail("{}: the state of another run: {}", path_, difference(found.header, state.header));
    // Too short to say what it is: the beginning of this run's first line, or somebody's file.
    if (complete == 0 && !state.header.dump().starts_with(read_file(path_)))
      fail("{}: found a file that is no state of an evaluation", path_);
    state.records = std::move(found.records);
    std::error_code error;
    std::filesystem::resize_file(path_, complete, error);
    if (error) fail("{}: cannot be written: {}", path_, error.message());
  }
  errno = 0;
  file_.reset(std::fopen(path_.c_str(), "ab"));
  if (!file_) fail("{}: cannot be written: {}", path_, std::strerror(errno));
  if (complete == 0) write(state.header.dump() + "\n");
}

void KlStateWriter::add(const ContextRecord& record) {
  write(to_json(record).dump() + "\n");
}

void KlStateWriter::write(const std::string& line) {
  errno = 0;
  const bool written = std::fwrite(line.data(), 1, line.size(), file_.get()) == line.size();
  if (!written || std::fflush(file_.get()) != 0)
    fail("{}: cannot be written: {}", path_, std::strerror(errno));
}

}  // namespace miser::eval
