#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "eval/task_state.h"

namespace miser::eval {

/// {"task", "model", ..., "rows": [{"kv", "n", "bits_per_element", "acc", "acc_norm", "ci95", "vs_f16"}]} of
/// a multiple-choice task or of recall, whose rows also have "kind", "length" and "distance". REQUIRES: at
/// least one record.
nlohmann::json task_result(const TaskState& state);

/// The same as an aligned table.
std::string task_table(const TaskState& state);

}  // namespace miser::eval
