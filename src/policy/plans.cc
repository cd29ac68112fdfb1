#include "policy/plans.h"

#include "base/error.h"
#include "policy/plan_file.h"

namespace miser::policy {

std::shared_ptr<const Plan> Plans::get(const std::string& path) const {
  if (path.empty()) {
    if (own_ == nullptr)
      fail(
          "found no plan for this model: train one with miser train -m {} --text FILE... -o PLAN, and pass "
          "it "
          "as --plan PLAN",
          model_.name);
    return own_;
  }
  const std::lock_guard lock(mutex_);
  std::shared_ptr<const Plan>& plan = files_[path];
  if (plan == nullptr) {
    auto read = std::make_shared<const Plan>(read_plan(gguf::File::open(path)));
    check_model(read->model, path, model_, force_);
    plan = std::move(read);
  }
  return plan;
}

}  // namespace miser::policy
