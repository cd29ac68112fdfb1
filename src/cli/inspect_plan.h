#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "policy/plan.h"

namespace miser::cli {

/// A plan as a page of text.
std::string plan_text(const policy::Plan& plan, const std::string& path);

/// The same as a JSON object: what is there, tables of a few numbers, no weights.
nlohmann::json plan_json(const policy::Plan& plan, const std::string& path);

}  // namespace miser::cli
