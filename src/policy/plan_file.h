#pragma once
#include <string>

#include "gguf/file.h"
#include "policy/plan.h"

namespace miser::policy {

inline constexpr std::uint32_t kPlanVersion = 2;

/// Whether `file` is a plan, of whatever version.
bool is_plan(const gguf::File& file);

/// Reads a plan (docs/adaptive-plan.md). Throws Error that names file, key or tensor, found and expected, for
/// anything missing, of another type, shape or version, not finite, or out of range.
Plan read_plan(const gguf::File& file);

/// What read_plan() reads of the model, and nothing else.
PlanModel read_plan_model(const gguf::File& file);

/// Writes `plan`; `path` appears when it is complete. Equal plans give equal bytes. Throws Error that names
/// the path. REQUIRES: a plan that read_plan() would accept.
void write_plan(const Plan& plan, const std::string& path);

/// Throws Error unless `plan`, called `name` in the message, fits `model`: another shape never does, other
/// weights (the fingerprint) only with `force`.
void check_model(const PlanModel& plan, const std::string& name, const PlanModel& model, bool force);

}  // namespace miser::policy
