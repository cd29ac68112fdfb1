// The plans of a model: found by its fingerprint, refused when it is another's, used by sessions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <fstream>

#include "base/mapped_file.h"
#include "nn/thread_pool.h"
#include "policy/plan_file.h"
#include "session/plans.h"
#include "session/session.h"
#include "temporary_folder.h"
#include "tiny_model.h"
#include "tiny_plan.h"

namespace miser {
namespace {

using test::error_of;
using testing::AllOf;
using testing::HasSubstr;

const std::size_t kWindow = SessionOptions{}.kv_window;

class ModelPlans : public ::testing::Test {
 protected:
  /// The model's file with one byte of the data of its first tensor changed.
  std::string other_weights() const {
    const MappedFile file(tiny_.path);
    std::string bytes(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
    const auto& data = model_.file().tensors()[0].data;
    const gguf::File parsed = gguf::File::parse(std::as_bytes(std::span(bytes)), "copy");
    const auto at = parsed.tensors()[0].data.data() - std::as_bytes(std::span(bytes)).data();
    bytes[static_cast<std::size_t>(at) + data.size() - 2] ^= 1;
    std::ofstream(folder_.file("other.gguf"), std::ios::binary) << bytes;
    return folder_.file("other.gguf");
  }
  std::string written(const policy::Plan& plan) const {
    policy::write_plan(plan, folder_.file("plan.gguf"));
    return folder_.file("plan.gguf");
  }

  test::TemporaryFolder folder_;
  test::TinyModel tiny_ = test::tiny_models()[0];
  Model model_ = Model::load(tiny_.path);
};

TEST_F(ModelPlans, FingerprintTellsWeightsApart) {
  const auto fingerprint = plan_model(model_).fingerprint;
  EXPECT_EQ(plan_model(Model::load(tiny_.path)).fingerprint, fingerprint);
  EXPECT_NE(plan_model(Model::load(other_weights())).fingerprint, fingerprint);
}

TEST_F(ModelPlans, ModelWithoutAPlanHasNone) {
  const auto plans = load_plans(model_, "", false, kWindow);
  EXPECT_FALSE(plans->has_own());
  EXPECT_THAT(error_of([&] { plans->get(""); }), AllOf(HasSubstr("no plan"), HasSubstr("miser train")));
}

TEST_F(ModelPlans, FileIsTheModelsOwnPlanUnlessItsWeightsDiffer) {
  const std::string path = written(test::tiny_plan(plan_model(model_)));
  EXPECT_TRUE(load_plans(model_, path, false, kWindow)->has_own());
  const Model other = Model::load(other_weights());
  EXPECT_THAT(error_of([&] { load_plans(other, path, false, kWindow); }),
              AllOf(HasSubstr(path), HasSubstr("--force")));
  EXPECT_TRUE(load_plans(other, path, true, kWindow)->has_own());
  EXPECT_THAT(error_of([&] { load_plans(model_, tiny_.path, true, kWindow); }), HasSubstr("found no plan"));
}

TEST_F(ModelPlans, SessionTakesPolicyAndCentresFromThePlan) {
  const policy::Plan plan = test::tiny_plan(plan_model(model_));
  nn::ThreadPool pool(1);
  SessionOptions options;
  options.plans = load_plans(model_, written(plan), false, kWindow);
  options.kv_centres = {std::vector<float>(plan.centre_k.size()), std::vector<float>(plan.centre_v.size())};
  const auto centre_of = [&](const char* kv) {
    options.kv = kv;
    const Session session(model_, pool, options);
    const auto centre = session.cache().value_side(1, 0).centre;
    return std::vector<float>(centre.begin(), centre.end());
  };
  const std::size_t row = plan.model.n_kv_heads * plan.model.head_dim;
  const std::vector<float> expected(
      plan.centre_v.begin() + static_cast<std::ptrdiff_t>(row),
      plan.centre_v.begin() + static_cast<std::ptrdiff_t>(row + plan.model.head_dim));
  for (const char* kv : {"learned@6", "static@6", "received@6", "paper"})
    EXPECT_EQ(centre_of(kv), expected) << kv;
  EXPECT_EQ(centre_of("q4"), std::vector<float>(plan.model.head_dim));
}

/// Mean stored bits of the vectors that a session has packed.
double packed_bits(const Session& session) {
  const kv::CacheConfig& config = session.cache().config();
  double bits = 0;
  double vectors = 0;
  for (std::size_t layer = 0; layer < config.n_layers; ++layer) {
    for (const kv::PackedHead& head : session.cache().layer(layer).heads) {
      for (const auto* side : {&head.k, &head.v}) {
        for (const kv::Segment& segment : *side) {
          for (std::size_t t = 0; t < segment.size(); ++t) {
            bits += test::stored_bits(config.head_dim)[static_cast<std::size_t>(segment.width(t))];
          }
          vectors += static_cast<double>(segment.size());
        }
      }
    }
  }
  return bits / vectors;
}

/// Token i of a text of some kind, any number.
using Text = std::size_t (*)(std::size_t i);
constexpr std::size_t mixed(std::size_t i) {
  return (i + 1) * 2654435761U % 1009;
}
constexpr Text kRandom = mixed;
constexpr Text kPattern = [](std::size_t i) { return mixed(i % 11); };
constexpr Text kWords = [](std::size_t i) { return i % 3 == 0 ? mixed(i) : mixed(i / 40 + i % 3); };

TEST_F(ModelPlans, BudgetIsMetInTheCache) {
  nn::ThreadPool pool(1);
  std::size_t n_models = 0;
  for (const test::TinyModel& tiny : test::tiny_models()) {
    const Model model = Model::load(tiny.path);
    if (model.config().context < 512) continue;
    ++n_models;
    const policy::Plan plan = test::tiny_plan(plan_model(model));
    SessionOptions options;
    options.plans = load_plans(model, written(plan), false, kWindow);
    for (const Text text : {kRandom, kPattern, kWords}) {
      std::vector<std::int32_t> ids(512);
      for (std::size_t i = 0; i < ids.size(); ++i) {
        ids[i] = static_cast<std::int32_t>(text(i) % model.config().n_vocab);
      }
      for (const float more : {1.0F, 3.0F}) {
        const float budget = plan.stored_bits[0] + more;
        options.kv = fmt::format("learned@{}", budget);
        Session session(model, pool, options);
        session.feed(ids);
        EXPECT_NEAR(packed_bits(session) / budget, 1, 0.03) << tiny.name << ", " << options.kv;
      }
    }
  }
  EXPECT_GT(n_models, 2U);
}

}  // namespace
}  // namespace miser
