#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "report/report.h"

namespace miser::report {

/// Policies, summary and facts from what `miser eval kl --json` prints.
void add_kl(const nlohmann::json& result, ReportData& data);

/// The arms of a frontier from what `miser eval frontier --json` prints: its last table, that of all texts.
void add_frontier(const nlohmann::json& result, ReportData& data);

/// Speeds from a file of what `miser bench --json` prints. Throws Error naming the file and the row when it
/// is no such file.
void add_bench(const std::string& path, ReportData& data);

}  // namespace miser::report
