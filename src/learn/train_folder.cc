#include "learn/train_folder.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "base/error.h"
#include "learn/trace_file.h"

namespace miser::learn {
namespace {

void check_source(const std::string& path, const nlohmann::json& expected) {
  const auto found = nlohmann::json::parse(read_trace_source(path), nullptr, false);
  if (found == expected) return;
  for (const auto& [key, value] : expected.items()) {
    const auto other = found.is_object() && found.contains(key) ? found[key] : nlohmann::json();
    if (other != value)
      fail("{}: is a trace with {} {}, expected {}: pass another --work folder, or the same options", path,
           key, other.dump(), value.dump());
  }
  fail("{}: is a trace of {}, expected {}", path, found.dump(), expected.dump());
}

}  // namespace

TraceFolder::TraceFolder(std::string path, std::string name, std::vector<nlohmann::json> sources)
    : path_(std::move(path)), name_(std::move(name)), sources_(std::move(sources)) {
  std::error_code error;
  std::filesystem::create_directories(path_, error);
  if (error) fail("{}: cannot create the folder: {}", path_, error.message());
  for (std::size_t i = 0; i < size(); ++i) {
    if (std::filesystem::exists(file(i))) check_source(file(i), sources_[i]);
  }
}

std::string TraceFolder::file(std::size_t index) const {
  return fmt::format("{}/{}-{:04}.trace", path_, name_, index);
}

std::vector<std::size_t> TraceFolder::missing() const {
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < size(); ++i) {
    if (!std::filesystem::exists(file(i))) indices.push_back(i);
  }
  return indices;
}

void TraceFolder::write(std::size_t index, const Trace& trace) const {
  write_trace(file(index), trace, sources_[index].dump());
}

TraceSource TraceFolder::traces() const {
  return {size(), [this](std::size_t i) { return read_trace(file(i)).trace; }};
}

}  // namespace miser::learn
