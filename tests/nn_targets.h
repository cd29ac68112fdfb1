#pragma once
#include <gtest/gtest.h>
#include <hwy/targets.h>

namespace miser::nn {

/// Runs `check` once for every Highway target that was compiled and that this CPU has, named in failures.
template <typename Check>
void for_each_target(Check check) {
  for (const auto target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    check();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace miser::nn
