#include "eval/state_file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace miser::eval {

using nlohmann::json;

std::string read_state_text(const std::string& path) {
  if (!std::filesystem::is_regular_file(path)) fail("{}: is no regular file, expected a state", path);
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (file.bad() || !file.is_open()) fail("{}: cannot be read: {}", path, std::strerror(errno));
  return text;
}

std::size_t read_state_lines(const std::string& path, const std::function<void(std::string_view)>& add_line) {
  const std::string text = read_state_text(path);
  std::size_t at = 0;
  std::size_t n = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', at)) {
    ++n;
    try {
      add_line(std::string_view(text).substr(at, end - at));
    } catch (const std::exception& e) {
      fail("{}:{}: not a line of an evaluation's state: {}", path, n, e.what());
    }
    at = end + 1;
  }
  return at;
}

std::string state_line(const json& line) {
  return line.dump() + "\n";
}

json whole_run(json header) {
  header["shard"] = "0/1";
  return header;
}

std::string header_difference(const json& found, const json& expected) {
  for (const auto& [key, value] : expected.items()) {
    if (found.contains(key) && found.at(key) == value) continue;
    return fmt::format("{} is {}, expected {}", key, found.contains(key) ? found.at(key).dump() : "missing",
                       value.dump());
  }
  return "it has more fields";
}

StateFile::StateFile(std::string path, const json& header, const Resume& resume) : path_(std::move(path)) {
  std::size_t complete = 0;
  if (std::filesystem::exists(path_)) {
    const json found = resume(complete);
    if (!found.is_null() && found != header)
      fail("{}: the state of another run: {}", path_, header_difference(found, header));
    // Too short to say what it is: the beginning of this run's first line, or somebody's file.
    if (complete == 0 && !header.dump().starts_with(read_state_text(path_)))
      fail("{}: found a file that is no state of an evaluation", path_);
    std::error_code error;
    std::filesystem::resize_file(path_, complete, error);
    if (error) fail("{}: cannot be written: {}", path_, error.message());
  }
  errno = 0;
  file_.reset(std::fopen(path_.c_str(), "ab"));
  if (!file_) fail("{}: cannot be written: {}", path_, std::strerror(errno));
  if (complete == 0) write(header);
}

void StateFile::write(const json& line) {
  const std::string text = state_line(line);
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), file_.get()) == text.size();
  if (!written || std::fflush(file_.get()) != 0)
    fail("{}: cannot be written: {}", path_, std::strerror(errno));
}

}  // namespace miser::eval
