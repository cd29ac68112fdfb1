#pragma once
#include <cstddef>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace miser::eval {

// What the states of all evaluations have in common: JSON lines, first a header that says what is measured,
// then a record a finished document, so that a killed run goes on and the shards of a run are joined.

/// The whole file. Throws Error when it is no regular file or cannot be read.
std::string read_state_text(const std::string& path);

/// Calls add_line for every complete line; an unfinished last one, which a killed run may leave, is ignored.
/// Returns the bytes of the complete lines. What add_line throws becomes an Error naming file, line and
/// reason.
std::size_t read_state_lines(const std::string& path, const std::function<void(std::string_view)>& add_line);

/// A header or record as a line.
std::string state_line(const nlohmann::json& line);

/// The header of the run that its shards make up: equal for all of them.
nlohmann::json whole_run(nlohmann::json header);

/// The first field in which two unequal headers differ, for a message.
std::string header_difference(const nlohmann::json& found, const nlohmann::json& expected);

/// Appends lines to a state, each flushed when it is written.
class StateFile {
 public:
  /// Reads the state that is in the file: returns its header (null if it has no complete line), and sets the
  /// bytes of its complete lines.
  using Resume = std::function<nlohmann::json(std::size_t& complete_bytes)>;

  /// Makes `path` with `header` as its first line, or goes on with the state in it. Throws Error when the
  /// file cannot be written or holds the state of another run.
  StateFile(std::string path, const nlohmann::json& header, const Resume& resume);
  void write(const nlohmann::json& line);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace miser::eval
