#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/kl_record.h"
#include "eval/state_file.h"

namespace miser::eval {

/// A run of `miser eval kl`, finished or not: a header that says what is measured, with the fields
/// miser_eval, task ("kl"), model, kv (policies, f16 first), text, contexts (how many), context (tokens),
/// skip and those of the cache; and one record a finished context, in order. docs/eval.md describes the file.
struct KlState {
  nlohmann::json header = nlohmann::json::value_t::null;
  std::vector<ContextRecord> records;
};

/// Whether the header is one of `miser eval kl`; other tasks have states of their own.
bool is_kl_header(const nlohmann::json& header);

/// The first line of a state. Throws Error when there is none.
nlohmann::json read_state_header(const std::string& path);

/// Reads a state. An unfinished last line, which a killed run may leave, is ignored; `complete_bytes`, if not
/// null, gets the size without it, and a file without a complete line is then no error. Throws Error naming
/// file, line and reason.
KlState read_kl_state(const std::string& path, std::size_t* complete_bytes = nullptr);

/// Joins the shards of one run. Throws Error when they are not of the same run, overlap or leave contexts
/// out.
KlState merge_kl_states(const std::vector<std::string>& paths);

/// The file that KlStateWriter leaves of this state.
std::string state_lines(const KlState& state);

/// Appends records to a state file, each flushed when it is added.
class KlStateWriter {
 public:
  /// Makes `path`, or goes on with the state in it: then `state` gets its records. Throws Error when the file
  /// cannot be written or holds the state of another run than state.header describes.
  KlStateWriter(const std::string& path, KlState& state);
  void add(const ContextRecord& record);

 private:
  StateFile file_;
};

}  // namespace miser::eval
