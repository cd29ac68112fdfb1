#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "base/mapped_file.h"
#include "gguf/file.h"
#include "gguf/writer.h"
#include "policy/plan_file.h"
#include "temporary_folder.h"
#include "tiny_plan.h"

namespace miser::policy {
namespace {

using test::error_of;
using test::tiny_plan;
using testing::AllOf;
using testing::HasSubstr;

std::string bytes_of(const Plan& plan) {
  const test::TemporaryFolder folder;
  write_plan(plan, folder.file("a.gguf"));
  const MappedFile file(folder.file("a.gguf"));
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

Plan parse(const std::string& bytes) {
  return read_plan(gguf::File::parse(std::as_bytes(std::span(bytes)), "p.gguf"));
}

std::string error_of_bytes(const std::string& bytes) {
  return error_of([&] { parse(bytes); });
}

TEST(PlanFile, RoundTrips) {
  const Plan plan = tiny_plan();
  const Plan read = parse(bytes_of(plan));
  EXPECT_EQ(read.model.name, plan.model.name);
  EXPECT_EQ(read.model.fingerprint, plan.model.fingerprint);
  EXPECT_EQ(read.model.n_layers, 2U);
  EXPECT_EQ(read.model.n_heads, 4U);
  EXPECT_EQ(read.model.n_kv_heads, 2U);
  EXPECT_EQ(read.model.head_dim, 8U);
  EXPECT_EQ(read.window, plan.window);
  EXPECT_EQ(read.block, plan.block);
  EXPECT_EQ(read.centre_k, plan.centre_k);
  EXPECT_EQ(read.centre_v, plan.centre_v);
  EXPECT_EQ(read.error, plan.error);
  EXPECT_EQ(read.stored_bits, plan.stored_bits);
  EXPECT_EQ(read.ladder, plan.ladder);
  EXPECT_EQ(read.mean_sensitivity, plan.mean_sensitivity);
  EXPECT_EQ(read.price_bits, plan.price_bits);
  EXPECT_EQ(read.price_log, plan.price_log);
  EXPECT_EQ(read.default_bits, plan.default_bits);
  EXPECT_EQ(read.text_hash, plan.text_hash);
  EXPECT_EQ(read.results, plan.results);
  EXPECT_EQ(read.linear->signals, plan.linear->signals);
  EXPECT_EQ(read.linear->rope_frequencies, plan.linear->rope_frequencies);
  EXPECT_EQ(read.linear->mean, plan.linear->mean);
  EXPECT_EQ(read.linear->deviation, plan.linear->deviation);
  EXPECT_EQ(read.linear->bias, plan.linear->bias);
  EXPECT_EQ(read.linear->weights, plan.linear->weights);
  EXPECT_EQ(read.paper->mean, plan.paper->mean);
  EXPECT_EQ(read.paper->deviation, plan.paper->deviation);
  EXPECT_EQ(read.paper->w1, plan.paper->w1);
  EXPECT_EQ(read.paper->b1, plan.paper->b1);
  EXPECT_EQ(read.paper->w2, plan.paper->w2);
  EXPECT_EQ(read.paper->b2, plan.paper->b2);
  EXPECT_EQ(read.paper->w3, plan.paper->w3);
  EXPECT_EQ(read.paper->b3, plan.paper->b3);
}

TEST(PlanFile, OptionalPartsMayBeMissing) {
  Plan plan = tiny_plan();
  plan.centre_k.clear();
  plan.centre_v.clear();
  plan.linear.reset();
  plan.paper.reset();
  plan.price_bits.clear();
  plan.price_log.clear();
  const Plan read = parse(bytes_of(plan));
  EXPECT_TRUE(read.centre_k.empty());
  EXPECT_TRUE(read.centre_v.empty());
  EXPECT_FALSE(read.linear);
  EXPECT_FALSE(read.paper);
  EXPECT_TRUE(read.price_bits.empty());
}

TEST(PlanFile, EqualPlansGiveEqualBytes) {
  EXPECT_EQ(bytes_of(tiny_plan()), bytes_of(tiny_plan()));
}

TEST(PlanFile, ReadsHalfPrecision) {
  // A plan whose paper.b3 is stored as F16: 1, 2, 0.5, -1.
  Plan plan = tiny_plan();
  plan.paper->b3 = {1, 2, 0.5F, -1};
  std::string bytes = bytes_of(plan);
  const std::size_t at = bytes.find("paper.b3") + 8 + 4 + 8;  // name, rank, one dimension
  ASSERT_EQ(bytes[at], 0);
  bytes[at] = static_cast<char>(gguf::TensorType::kF16);
  const std::uint16_t halves[] = {0x3C00, 0x4000, 0x3800, 0xBC00};
  const gguf::File file = gguf::File::parse(std::as_bytes(std::span(bytes)), "p.gguf");
  const auto data = file.find_tensor("paper.b3")->data;
  std::memcpy(bytes.data() + (data.data() - std::as_bytes(std::span(bytes)).data()), halves, sizeof(halves));
  EXPECT_EQ(parse(bytes).paper->b3, plan.paper->b3);
}

TEST(PlanFile, EveryFieldIsMissed) {
  const std::string whole = bytes_of(tiny_plan());
  for (const char* field : {"miser.plan.version",
                            "miser.plan.model.name",
                            "miser.plan.model.fingerprint",
                            "miser.plan.model.layers",
                            "miser.plan.model.heads",
                            "miser.plan.model.kv_heads",
                            "miser.plan.model.head_dim",
                            "miser.plan.window",
                            "miser.plan.block",
                            "miser.plan.bits",
                            "miser.plan.text_hash",
                            "miser.plan.results",
                            "miser.plan.ladder",
                            "miser.plan.signals",
                            "width.error",
                            "width.stored_bits",
                            "centre.v",
                            "sensitivity.mean",
                            "price.log",
                            "linear.mean",
                            "linear.deviation",
                            "linear.bias",
                            "paper.mean",
                            "paper.deviation",
                            "paper.b1",
                            "paper.w2",
                            "paper.b2",
                            "paper.w3",
                            "paper.b3"}) {
    std::string bytes = whole;
    const std::string_view name(field);
    const std::size_t at = bytes.find(name);
    ASSERT_NE(at, bytes.npos) << field;
    bytes[at + name.size() - 1] = '#';
    EXPECT_THAT(error_of_bytes(bytes), AllOf(HasSubstr("p.gguf: no "), HasSubstr(name))) << field;
  }
}

TEST(PlanFile, WrongTypesAreNamed) {
  const std::string whole = bytes_of(tiny_plan());
  for (const char* field :
       {"miser.plan.version", "miser.plan.model.layers", "miser.plan.model.heads",
        "miser.plan.model.kv_heads", "miser.plan.model.head_dim", "miser.plan.window", "miser.plan.block"}) {
    std::string bytes = whole;
    bytes[bytes.find(field) + std::string_view(field).size()] = 6;  // f32, of the same size
    EXPECT_THAT(error_of_bytes(bytes), AllOf(HasSubstr(field), HasSubstr("f32"))) << field;
  }
  std::string bytes = whole;
  bytes[bytes.find("miser.plan.text_hash") + 20] = 12;  // f64
  EXPECT_THAT(error_of_bytes(bytes), HasSubstr("miser.plan.text_hash"));
  bytes = whole;
  bytes[bytes.find("width.stored_bits") + 17 + 4 + 8] = static_cast<char>(gguf::TensorType::kBF16);
  EXPECT_THAT(error_of_bytes(bytes), AllOf(HasSubstr("width.stored_bits"), HasSubstr("expected F32 or F16")));
}

TEST(PlanFile, WrongShapesAreNamed) {
  const std::string whole = bytes_of(tiny_plan());
  for (const char* tensor :
       {"width.error", "width.stored_bits", "centre.k", "centre.v", "sensitivity.mean", "price.log",
        "linear.mean", "linear.deviation", "linear.bias", "linear.weights", "paper.mean", "paper.deviation",
        "paper.w1", "paper.b1", "paper.w2", "paper.b2", "paper.w3", "paper.b3"}) {
    std::string bytes = whole;
    --bytes[bytes.find(tensor) + std::string_view(tensor).size() + 4];  // its row length
    EXPECT_THAT(error_of_bytes(bytes), AllOf(HasSubstr("p.gguf: tensor " + std::string(tensor)),
                                             HasSubstr("found shape"), HasSubstr("expected [")));
  }
}

TEST(PlanFile, ValuesOutOfRangeAreNamed) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const std::vector<std::pair<const char*, std::function<void(Plan&)>>> cases = {
      {"centre.k: value 3 is nan", [](Plan& p) { p.centre_k[3] = kNan; }},
      {"centre.v: value 0 is inf", [](Plan& p) { p.centre_v[0] = kInf; }},
      {"width.error: value 7 is -1", [](Plan& p) { p.error[1][1] = -1; }},
      {"width.stored_bits: value 0 is 0", [](Plan& p) { p.stored_bits[0] = 0; }},
      {"do not rise", [](Plan& p) { std::swap(p.stored_bits[1], p.stored_bits[2]); }},
      {"sensitivity.mean: value 1 is -0.5", [](Plan& p) { p.mean_sensitivity[1] = -0.5F; }},
      {"price.bits: value 0 is nan", [](Plan& p) { p.price_bits[0] = kNan; }},
      {"budgets that do not rise", [](Plan& p) { p.price_bits[1] = p.price_bits[0]; }},
      {"price.log: value 2 is -inf", [](Plan& p) { p.price_log[2] = -kInf; }},
      {"linear.weights: value 9 is nan", [](Plan& p) { p.linear->weights[9] = kNan; }},
      {"linear.bias: value 0 is inf", [](Plan& p) { p.linear->bias[0] = kInf; }},
      {"linear.mean: value 0 is nan", [](Plan& p) { p.linear->mean[0] = kNan; }},
      {"rope.frequencies: value 1 is 0", [](Plan& p) { p.linear->rope_frequencies[1] = 0; }},
      {"rope.frequencies: found 9 pairs, expected at most",
       [](Plan& p) { p.linear->rope_frequencies.assign(9, 1); }},
      {"linear.deviation: value 2 is 0", [](Plan& p) { p.linear->deviation[2] = 0; }},
      {"paper.w2: value 5 is nan", [](Plan& p) { p.paper->w2[5] = kNan; }},
      {"paper.deviation: value 1 is -1", [](Plan& p) { p.paper->deviation[1] = -1; }},
      {"miser.plan.bits: found 17", [](Plan& p) { p.default_bits = 17; }},
      {"miser.plan.bits: found nan", [](Plan& p) { p.default_bits = kNan; }},
      {"miser.plan.ladder", [](Plan& p) { p.ladder.clear(); }},
      {"miser.plan.ladder: found 2",
       [](Plan& p) {
         p.ladder = {kv::Width::k4, kv::Width::k2};
       }},
      {"'mood'", [](Plan& p) { p.linear->signals[0] = "mood"; }},
      {"miser.plan.signals: found no names", [](Plan& p) { p.linear->signals.clear(); }},
      {"miser.plan.block: found 0", [](Plan& p) { p.block = 0; }},
  };
  for (const auto& [expected, change] : cases) {
    Plan plan = tiny_plan();
    change(plan);
    EXPECT_THAT(error_of_bytes(bytes_of(plan)), HasSubstr(expected));
  }
}

TEST(PlanFile, ImpossibleModelsAreNamed) {
  const std::string whole = bytes_of(tiny_plan());
  for (const auto& [key, value, expected] :
       {std::tuple{"miser.plan.model.layers", 0, "miser.plan.model.layers: found 0, expected 1 to"},
        {"miser.plan.model.kv_heads", 3, "miser.plan.model.kv_heads: found 3, expected a divisor of the 4"},
        {"miser.plan.model.kv_heads", 5, "miser.plan.model.kv_heads: found 5, expected 1 to 4"}}) {
    std::string bytes = whole;
    bytes[bytes.find(key) + std::string_view(key).size() + 4] = static_cast<char>(value);
    EXPECT_THAT(error_of_bytes(bytes), HasSubstr(expected));
  }
}

TEST(PlanFile, OtherVersionsAndOtherFilesAreRefused) {
  std::string bytes = bytes_of(tiny_plan());
  const std::string_view key = "miser.plan.version";
  bytes[bytes.find(key) + key.size() + 4] = 1;
  EXPECT_THAT(error_of_bytes(bytes), HasSubstr("p.gguf: miser.plan.version: found 1, expected 2"));
  const test::TemporaryFolder folder;
  gguf::Writer().write(folder.file("empty.gguf"));
  EXPECT_THAT(error_of([&] { read_plan(gguf::File::open(folder.file("empty.gguf"))); }),
              HasSubstr("found no plan"));
}

TEST(PlanFile, EveryTruncationIsAnError) {
  const std::string whole = bytes_of(tiny_plan());
  for (std::size_t n = 0; n < whole.size(); n += n < 2000 ? 1 : 97) {
    EXPECT_NE(error_of_bytes(whole.substr(0, n)), "no error") << n;
  }
}

TEST(CheckModel, OtherWeightsNeedForceAndOtherShapesNeverDo) {
  const PlanModel plan = tiny_plan().model;
  PlanModel model = plan;
  EXPECT_EQ(error_of([&] { check_model(plan, "p", model, false); }), "no error");
  model.fingerprint += 1;
  EXPECT_THAT(error_of([&] { check_model(plan, "p", model, false); }),
              AllOf(HasSubstr("0123456789abcdef"), HasSubstr("0123456789abcdf0"), HasSubstr("--force")));
  EXPECT_EQ(error_of([&] { check_model(plan, "p", model, true); }), "no error");
  model.n_layers = 3;
  EXPECT_THAT(error_of([&] { check_model(plan, "p", model, true); }),
              AllOf(HasSubstr("2 layers"), HasSubstr("expected 3 layers")));
}

}  // namespace
}  // namespace miser::policy
