#pragma once
#include <string>
#include <vector>

namespace miser::eval {

/// Columns as wide as their longest cell, the first to the left, the others to the right. REQUIRES: rows of
/// one length, at least one.
std::string align(const std::vector<std::vector<std::string>>& rows);

}  // namespace miser::eval
