// SmolLM2-135M-Instruct against a float32 NumPy pass over its dequantised weights
// (tests/reference/smollm2_kl.py makes such a pass; the figures are kept in tests/data).
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "model/model.h"
#include "nn/thread_pool.h"
#include "real_model.h"
#include "session/plans.h"

namespace miser {
namespace {

using Json = nlohmann::json;

Json read_data(const char* name) {
  std::ifstream file(std::string(MISER_SOURCE_DIR "/tests/data/") + name);
  return Json::parse(file);
}

/// The model through an f16 cache.
class SmolLM2 : public ::testing::Test {
 protected:
  SmolLM2() : model_(Model::load(test::smollm2_path())), session_(model_, pool_, f16_options()) {}

  static SessionOptions f16_options() {
    SessionOptions options;
    options.kv = "f16";
    options.context = 1024;
    return options;
  }

  Model model_;
  nn::ThreadPool pool_{2};
  Session session_;
};

TEST_F(SmolLM2, LogProbabilitiesAndPerplexityOfWikiTextEqualNumPy) {
  const Json reference = read_data("smollm2_logprobs.json");
  const auto ids = reference.at("ids").get<std::vector<std::int32_t>>();
  const auto expected = reference.at("logprob_next").get<std::vector<double>>();
  ASSERT_EQ(expected.size() + 1, ids.size());
  std::vector<double> found;
  const std::size_t n_vocab = model_.config().n_vocab;
  session_.feed_all(ids, [&](std::size_t first, std::span<const float> logits) {
    for (std::size_t i = first; i + 1 < ids.size() && (i - first) * n_vocab < logits.size(); ++i) {
      const auto row = logits.subspan((i - first) * n_vocab, n_vocab);
      found.push_back(test::log_probability(row, static_cast<std::size_t>(ids[i + 1])));
    }
  });
  ASSERT_EQ(found.size(), expected.size());
  double distance = 0;
  double sum = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    distance += std::abs(found[i] - expected[i]) / static_cast<double>(found.size());
    sum += found[i] / static_cast<double>(found.size());
  }
  EXPECT_LT(distance, 0.005);
  EXPECT_NEAR(std::exp(-sum) / reference.at("perplexity").get<double>(), 1.0, 0.001);
}

TEST_F(SmolLM2, BuiltInPlanIsThatOfTheNearestWindow) {
  for (const auto& [window, of_plan] :
       {std::pair<std::size_t, std::size_t>{0, 0}, {8, 0}, {32, 32}, {128, 32}})
    EXPECT_EQ(load_plans(model_, "", false, window)->get("")->window, of_plan) << window;
}

TEST_F(SmolLM2, GreedyTokensEqualFloat32WhereItsMarginIsClear) {
  constexpr double kClearMargin = 0.3;  // logits
  std::size_t n_clear = 0;
  for (const Json& entry : read_data("smollm2_greedy.json")) {
    SCOPED_TRACE(entry.at("prompt").get<std::string>());
    const auto prompt = entry.at("prompt_ids").get<std::vector<std::int32_t>>();
    // The reference was fed these tokens, not its own choices; its top-1 and margin at each step follow.
    const auto fed = entry.at("llama_cpp_ids").get<std::vector<std::int32_t>>();
    const auto top1 = entry.at("f32_top1").get<std::vector<std::size_t>>();
    const auto margin = entry.at("f32_margin").get<std::vector<double>>();
    session_.clear();
    auto logits = session_.feed(prompt);
    for (std::size_t i = 0; i < fed.size(); ++i) {
      if (margin[i] >= kClearMargin) {
        EXPECT_EQ(test::argmax(logits), top1[i]) << "step " << i;
        ++n_clear;
      }
      logits = session_.feed({&fed[i], 1});
    }
  }
  EXPECT_GT(n_clear, 100U);  // of 120
}

}  // namespace
}  // namespace miser
