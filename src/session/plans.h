#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include "model/model.h"
#include "policy/plans.h"

namespace miser {

/// What a plan must say of `model` to be used with it. The fingerprint is a 64-bit hash (FNV-1a over 8-byte
/// words) of the names, types and shapes of all tensors and of up to 16 pieces of 64 bytes of each, spread
/// evenly: it tells weights apart, and costs no pass over the file. The name is that of the file.
policy::PlanModel plan_model(const Model& model);

/// The plans for `model`: its own is the file `path`, or, when that is empty, one built into the program for
/// these very weights, if any: of several the one made for the nearest number of exact tokens to `window`.
/// Throws Error when the file is no plan or is of another model; `force` allows other weights of the same
/// shape.
std::shared_ptr<const policy::Plans> load_plans(const Model& model, const std::string& path, bool force,
                                                std::size_t window);

}  // namespace miser
