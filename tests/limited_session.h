#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "session/plans.h"
#include "session/session.h"
#include "tiny_model.h"
#include "tiny_plan.h"

namespace miser::test {

/// A policy of each kind.
inline const std::vector<std::string> kPolicies = {
    "f16",  "q8",        "q4",         "k3v2",       "random:1=20,2=20,3=20,4=20,8=10,16=10:3",
    "rule", "learned@5", "received@5", "static@5.5", "paper"};

inline std::string policy_name(const testing::TestParamInfo<std::string>& policy) {
  return policy.param.substr(0, policy.param.find_first_of(":@"));
}

/// Sessions of a tiny model, with and without a limit of memory.
class LimitedSession : public testing::Test {
 protected:
  static Model load() {
    for (const auto& tiny : test::tiny_models()) {
      if (tiny.name == "f32_long") return Model::load(tiny.path);
    }
    throw std::runtime_error("no fixture f32_long: run ./dev test, which makes it");
  }

  SessionOptions options(const std::string& kv) const {
    SessionOptions options;
    options.kv = kv;
    options.context = 1000;
    const policy::PlanModel of_model = plan_model(model);
    const auto plan = std::make_shared<const policy::Plan>(test::tiny_plan(of_model));
    options.plans = std::make_shared<const policy::Plans>(of_model, plan, false);
    return options;
  }

  /// With room for `room` bytes beside what the empty cache takes.
  SessionOptions limited(const std::string& kv, std::size_t room) {
    SessionOptions with_limit = options(kv);
    with_limit.kv_memory = std::size_t{1} << 40U;
    with_limit.kv_memory = Session(model, pool, with_limit).cache().bytes() + room;
    return with_limit;
  }

  std::vector<std::int32_t> random_tokens(std::size_t n) const {
    std::mt19937 random(1);
    std::vector<std::int32_t> tokens(n);
    for (auto& token : tokens) token = static_cast<std::int32_t>(random() % model.config().n_vocab);
    return tokens;
  }

  Model model = load();
  nn::ThreadPool pool{2};
};

}  // namespace miser::test
