#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace miser::eval {

/// Columns as wide as their longest cell, the first to the left, the others to the right. REQUIRES: rows of
/// one length, at least one.
std::string align(const std::vector<std::vector<std::string>>& rows);

/// " [0.0190, 0.0212]" of a pair of numbers, each in fmt's `format`; nothing of a null.
std::string interval_text(const nlohmann::json& interval, const char* format);

}  // namespace miser::eval
