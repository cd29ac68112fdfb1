#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/gate_run.h"

namespace miser::eval {

/// Spearman's correlation of predicted and measured KL below which sensitivities are not worth learning.
inline constexpr double kGate = 0.8;

/// Figures of the contexts that were run: the fields of `header`; "done" (contexts); "groups", by kind: "n",
/// "vectors" and "measured" (least and most of a group), and for "traced" and "predicted" sensitivities
/// "spearman" and "pearson_log" (of predicted and measured KL and of their logarithms), "ratio" (median of
/// predicted over measured), "ci95" of each; "passed" (spearman of wide groups and traced sensitivities at
/// least kGate); "spread", for "k" and "v": standard deviations of ln s "within" and "between" heads, and
/// "correlation" of predicted and traced ln s within heads; "points", one a group. Intervals are 95 % of a
/// bootstrap over contexts, null for one. REQUIRES: at least one record.
nlohmann::json gate_result(const nlohmann::json& header, const std::vector<GateRecord>& records);

/// The same as aligned tables.
std::string gate_table(const nlohmann::json& result);

}  // namespace miser::eval
