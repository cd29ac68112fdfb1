#pragma once
#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "eval/state_file.h"

namespace miser::eval {

/// What one policy makes of one question.
struct ArmRecord {
  std::vector<double> logprobs;  ///< one an ending, nats
  bool exact = false;            ///< greedy decoding writes the right ending's tokens
  std::size_t bytes = 0;         ///< caches after each ending, summed
};

/// Where the fact of a recall question lies.
struct Place {
  std::string kind;          ///< of document
  std::size_t length = 0;    ///< of the document, tokens
  std::size_t distance = 0;  ///< tokens from the end of the fact to the answer
};

/// One question under all policies.
struct Record {
  std::size_t item = 0;
  std::size_t label = 0;
  std::vector<std::size_t> characters;  ///< length of each ending's choice
  std::size_t bytes_f16 = 0;            ///< what ArmRecord::bytes would be in binary16
  bool packed = false;                  ///< whether any query read a packed token
  std::optional<Place> place;           ///< of recall only
  std::map<std::string, ArmRecord> arms;
};

/// A run's state: a header that says what is measured and one line a question, so that a killed run goes on
/// and the shards of a run are joined. See docs/tasks.md.
struct TaskState {
  nlohmann::json header;
  std::vector<Record> records;  ///< by item
};

/// Reads a state. An unfinished last line, which a killed run may leave, is ignored; `complete_bytes`, if not
/// null, gets the size without it. Throws Error naming file, line and reason for anything else that is no
/// state of a task.
TaskState read_state(const std::string& path, std::size_t* complete_bytes = nullptr);

/// Joins the shards of one run. Throws Error when they are not of the same run, overlap or leave items out.
TaskState merge_states(const std::vector<std::string>& paths);

/// The file that StateWriter leaves of this state.
std::string state_lines(const TaskState& state);

/// Appends records to a state file, each flushed when it is added.
class StateWriter {
 public:
  /// Makes `path`, or goes on with the state in it: then `done` gets its records. Throws Error when the file
  /// cannot be written or holds the state of another run than `header` describes.
  StateWriter(const std::string& path, const nlohmann::json& header, std::vector<Record>& done);
  void add(const Record& record);

 private:
  StateFile file_;
};

}  // namespace miser::eval
