#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "policy/plan.h"

namespace miser::policy {

/// The plans from which the policies of one model are made: its own, if there is one, and files that specs
/// name, each read and checked once. Any number of threads may ask.
class Plans {
 public:
  /// `own`, which fits the model, may be null. `force`: files may be of other weights (check_model()).
  Plans(PlanModel model, std::shared_ptr<const Plan> own, bool force)
      : model_(std::move(model)), own_(std::move(own)), force_(force) {}

  /// The plan of the file `path`; of the model itself when it is empty. Throws Error when there is none, it
  /// cannot be read or is of another model.
  std::shared_ptr<const Plan> get(const std::string& path) const;
  bool has_own() const { return own_ != nullptr; }

 private:
  PlanModel model_;
  std::shared_ptr<const Plan> own_;
  bool force_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::shared_ptr<const Plan>> files_;  ///< by path
};

}  // namespace miser::policy
