#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "learn/fit_score.h"

namespace miser::cli {

/// What a plan keeps of its own evaluation (miser.plan.results): one JSON object, {"held_out": score_json()
/// of `miser train --test`, "frontier": frontier_summary() of `miser eval frontier --record`}, each if there
/// is one.

nlohmann::ordered_json score_json(const learn::PlanScore& score);

/// Of eval::frontier_result(): its rules of positions, and of each text the arms that a plan is judged by,
/// with bits, KL, perplexity and what learned has of the arm's KL.
nlohmann::ordered_json frontier_summary(const nlohmann::json& frontier);

/// `results` with `value` under `key`. What is no JSON object is replaced.
std::string with_result(const std::string& results, std::string_view key, nlohmann::ordered_json value);

/// score_json() as a table.
std::string score_table(const nlohmann::ordered_json& score);

/// All results for people; what another program wrote there as it is, as far as it fits a line.
std::string results_text(const std::string& results);

}  // namespace miser::cli
