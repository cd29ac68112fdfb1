#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/frontier_run.h"
#include "eval/state_file.h"

namespace miser::eval {

/// A run of `miser eval frontier`, finished or not. The header has miser_eval, task ("frontier"), model,
/// plan, texts ([{"name", "hash", "contexts"}]; a context's number counts through them), context (tokens),
/// skip, budgets, arms (kinds), seeds, samples, replays (contexts of each text on which replayed arms run),
/// head_dim, packed_vectors (of a context, when it ends) and those of the cache.
struct FrontierState {
  nlohmann::json header = nlohmann::json::value_t::null;
  std::vector<FrontierRecord> records;  ///< in the order of contexts
};

/// All arms that the header names.
std::vector<FrontierArm> frontier_arms(const nlohmann::json& header);

/// Appends records to a state file, each flushed when it is added.
class FrontierWriter {
 public:
  /// Makes `path`, or goes on with the state in it: then `state` gets its records. Throws Error when the file
  /// cannot be written or holds the state of another run than state.header describes.
  FrontierWriter(const std::string& path, FrontierState& state);
  void add(const FrontierRecord& record) { file_.write(to_json(record)); }

 private:
  StateFile file_;
};

}  // namespace miser::eval
