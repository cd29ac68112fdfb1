// What the learned policy predicts of the vectors of real passes, against the signals that NumPy finds in its
// own passes (tests/reference/policy_signals.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "compare.h"
#include "nn/matrix.h"
#include "nn/thread_pool.h"
#include "policy/learned.h"
#include "session/plans.h"
#include "session/session.h"
#include "tiny_model.h"
#include "tiny_plan.h"

namespace miser {
namespace {

/// Rates as the learned policy does, keeps the ratings [K and V, n_layers, n_tokens, n_kv_heads] and gives
/// every vector 16 bits.
class Probe final : public policy::Policy {
 public:
  Probe(std::shared_ptr<const policy::Plan> plan, std::size_t n_tokens, std::vector<float>& ratings)
      : learned_(plan, 16, "learned"), model_(plan->model), n_tokens_(n_tokens), ratings_(ratings) {
    ratings_.assign(2 * model_.n_layers * n_tokens * model_.n_kv_heads, 0);
  }
  std::string name() const override { return "probe"; }
  bool wants_received() const override { return true; }
  bool wants_norms() const override { return true; }
  bool wants_vectors() const override { return true; }
  std::size_t decision_period() const override { return learned_.decision_period(); }
  void choose(const kv::LeavingBlock& block, kv::BlockWidths&) override {
    const std::size_t n = block.n_tokens * block.n_kv_heads;
    std::vector<float> found(2 * n);
    learned_.rate(block, found);
    for (std::size_t side = 0; side < 2; ++side) {
      const std::size_t to = (side * model_.n_layers + block.layer) * n_tokens_ + block.first_position;
      std::copy_n(found.begin() + static_cast<std::ptrdiff_t>(side * n), n,
                  ratings_.begin() + static_cast<std::ptrdiff_t>(to * block.n_kv_heads));
    }
  }

 private:
  policy::Learned learned_;
  policy::PlanModel model_;
  std::size_t n_tokens_;
  std::vector<float>& ratings_;
};

/// The formula of LinearController, in double, on a vector's columns.
float predict(const policy::LinearController& linear, std::size_t side, std::size_t function,
              std::size_t n_functions, std::span<const float> columns) {
  const std::size_t n = columns.size();
  const std::size_t f = side * n_functions + function;
  double sum = linear.bias[f];
  for (std::size_t c = 0; c < n; ++c) {
    const double z = (static_cast<double>(columns[c]) - linear.mean[function * n + c]) /
                     linear.deviation[function * n + c];
    sum += linear.weights[f * n + c] * std::clamp(z, -6.0, 6.0);
  }
  return static_cast<float>(sum);
}

/// Ratings of the tokens that leave, found and expected.
void compare(const test::TinyModel& tiny, const test::TinyRun& run, const policy::Plan& plan,
             std::span<const float> ratings, std::size_t batch) {
  const test::Array columns = tiny.array(run, "columns");
  const policy::PlanModel& m = plan.model;
  const std::size_t n_tokens = tiny.tokens.size();
  const std::size_t n_columns = columns.shape[3];
  std::vector<float> found;
  std::vector<float> expected;
  const std::size_t n_left = (n_tokens - 1 - run.window) / run.block * run.block;
  for (std::size_t side = 0; side < 2; ++side) {
    for (std::size_t layer = 0; layer < m.n_layers; ++layer) {
      for (std::size_t i = kv::CacheConfig{}.sinks; i < n_left; ++i) {
        for (std::size_t head = 0; head < m.n_kv_heads; ++head) {
          const std::size_t at = (layer * n_tokens + i) * m.n_kv_heads + head;
          found.push_back(ratings[side * m.n_layers * n_tokens * m.n_kv_heads + at]);
          expected.push_back(predict(*plan.linear, side, layer * m.n_kv_heads + head,
                                     m.n_layers * m.n_kv_heads,
                                     columns.values.subspan(at * n_columns, n_columns)));
        }
      }
    }
  }
  // Float rounding, in integer products rounding of x to 16 bits (nn/inputs.h), and flips of binary16
  // (compare.h).
  const test::Spread spread = test::difference(found, expected);
  EXPECT_LT(spread.median, nn::rounds_inputs(batch) ? 3e-4 : 1e-4);
  EXPECT_LT(spread.p99, 5e-3);
  EXPECT_LT(spread.max, 0.1);
}

TEST(LearnedSignals, EqualNumPyInPassesOfAnyChunk) {
  nn::ThreadPool pool(2);
  for (const test::TinyModel& tiny : test::tiny_models()) {
    const Model model = Model::load(tiny.path);
    policy::Plan random_plan = test::tiny_plan(plan_model(model));
    random_plan.linear->rope_frequencies = model.rope_frequencies();
    const auto plan = std::make_shared<const policy::Plan>(std::move(random_plan));
    const auto run =
        std::find_if(tiny.runs.begin(), tiny.runs.end(), [](const auto& r) { return r.kv == "f16"; });
    ASSERT_NE(run, tiny.runs.end());
    for (const std::size_t batch : {512, 7}) {
      SCOPED_TRACE(tiny.describe(*run) + ", chunks of " + std::to_string(batch));
      std::vector<float> ratings;
      SessionOptions options = tiny.options(*run);
      options.batch = batch;
      options.make_policy = [&](const policy::SignalHistory&) {
        return std::make_unique<Probe>(plan, tiny.tokens.size(), ratings);
      };
      Session(model, pool, options).feed(tiny.tokens);
      compare(tiny, *run, *plan, ratings, batch);
    }
  }
}

}  // namespace
}  // namespace miser
