#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include "base/mapped_file.h"
#include "eval/bandwidth.h"
#include "eval/random_model.h"
#include "eval/shapes.h"
#include "eval/speed.h"
#include "real_model.h"
#include "temporary_folder.h"

namespace miser::eval {
namespace {

using test::error_of;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::uint64_t parameters(const Shape& shape) {
  std::uint64_t total = 0;
  for (const ShapeTensor& tensor : tensors_of(shape)) {
    if (tensor.name == "rope_freqs.weight") continue;  // computed from the configuration, not learned
    total += std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::uint64_t{1}, std::multiplies<>());
  }
  return total;
}

// The counts that the Hugging Face model pages give for the published weights.
TEST(Shapes, ParametersAreThoseOfThePublishedModels) {
  EXPECT_EQ(parameters(parse_shape("smollm-135m")), 134'515'008U);
  EXPECT_EQ(parameters(parse_shape("smollm-360m")), 361'821'120U);
  EXPECT_EQ(parameters(parse_shape("smollm-1.7b")), 1'711'376'384U);
  EXPECT_EQ(parameters(parse_shape("llama-3.2-1b")), 1'235'814'400U);
}

TEST(Shapes, UnknownShapeOrFormatIsAUsageError) {
  for (const char* spec : {"smollm", "smollm-135m:", "smollm-135m:Q4_K", ""}) {
    EXPECT_THROW(parse_shape(spec), UsageError) << spec;
  }
  EXPECT_THAT(error_of([] { parse_shape("gpt:F16"); }),
              HasSubstr("found 'gpt:F16', expected smollm-135m, smollm-360m, smollm-1.7b, llama-3.2-1b"));
}

// Values of transformers' _compute_llama3_parameters for Llama 3.2 (old frequency over new), by NumPy.
TEST(Shapes, RopeFactorsFollowTheLlama3Rule) {
  const auto factors = llama3_rope_factors(parse_shape("llama-3.2-1b").config);
  ASSERT_EQ(factors.size(), 32U);
  for (std::size_t i = 0; i <= 14; ++i) EXPECT_EQ(factors[i], 1) << i;
  EXPECT_NEAR(factors[15], 1.65132925, 1e-4);
  EXPECT_NEAR(factors[16], 3.2922621, 1e-4);
  EXPECT_NEAR(factors[17], 9.66672898, 1e-3);
  for (std::size_t i = 18; i < 32; ++i) EXPECT_EQ(factors[i], 32) << i;
}

TEST(RandomModel, HasTheTensorsAndSizesOfTheRealModel) {
  const Model random = make_random_model(parse_shape("smollm-135m:Q4_1"), 0, 1);
  const Model real = Model::load(test::smollm2_path());
  std::map<std::string_view, const gguf::Tensor*> found;
  for (const gguf::Tensor& tensor : random.file().tensors()) found[tensor.name] = &tensor;
  for (const gguf::Tensor& tensor : real.file().tensors()) {
    ASSERT_TRUE(found.contains(tensor.name)) << tensor.name;
    EXPECT_EQ(found[tensor.name]->shape, tensor.shape) << tensor.name;
    EXPECT_EQ(found[tensor.name]->format, tensor.format) << tensor.name;
  }
  EXPECT_EQ(found.size(), real.file().tensors().size());
  EXPECT_EQ(random.rope_frequencies(), real.rope_frequencies());
  EXPECT_EQ(random.bytes_per_token(), real.bytes_per_token());
}

TEST(RandomModel, LogitsAreOfOrderOneInEveryFormat) {
  for (const char* format : {"Q4_0", "Q4_1", "Q8_0", "F16"}) {
    SCOPED_TRACE(format);
    Shape shape = parse_shape(std::string("llama-3.2-1b:") + format);
    shape.config.n_layers = 2;
    shape.config.n_embd = 256;
    shape.config.n_ff = 512;
    shape.config.n_heads = 4;
    shape.config.n_kv_heads = 2;
    shape.config.n_vocab = 1024;
    const Model model = make_random_model(shape, 0, 1);
    nn::ThreadPool pool(1);
    Session session(model, pool, {});
    std::vector<std::int32_t> tokens(100);
    std::iota(tokens.begin(), tokens.end(), 300);
    const auto logits = session.feed(tokens);
    const double squares = std::inner_product(logits.begin(), logits.end(), logits.begin(), 0.0);
    const double rms = std::sqrt(squares / static_cast<double>(logits.size()));
    // Normalised activations of rms 1 times rows of rms 1 / sqrt(n_embd): rms 1, within what formats round
    // to.
    EXPECT_GT(rms, 0.6);
    EXPECT_LT(rms, 1.5);
  }
}

TEST(RandomModel, SameSeedGivesTheSameBytesAndLongerContextIsKept) {
  const test::TemporaryFolder folder;
  Shape shape = parse_shape("smollm-135m:Q8_0");
  shape.config.n_layers = 1;
  shape.config.n_vocab = 512;
  write_random_model(shape, 0, 1, folder.file("a"));
  write_random_model(shape, 0, 1, folder.file("b"));
  write_random_model(shape, 20000, 2, folder.file("c"));
  const MappedFile a(folder.file("a"));
  const MappedFile b(folder.file("b"));
  const MappedFile c(folder.file("c"));
  EXPECT_TRUE(std::ranges::equal(a.bytes(), b.bytes()));
  EXPECT_FALSE(std::ranges::equal(a.bytes(), c.bytes()));
  EXPECT_EQ(Model::load(folder.file("a")).config().context, 8192U);
  EXPECT_EQ(Model::load(folder.file("c")).config().context, 20000U);
}

TEST(Bandwidth, SumReadsEveryWord) {
  std::mt19937_64 random(1);
  for (const std::size_t n : {64U, 128U, 4096U}) {
    std::vector<std::uint64_t> words(n);
    std::ranges::generate(words, [&] { return random(); });
    EXPECT_EQ(sum(words), std::accumulate(words.begin(), words.end(), std::uint64_t{0})) << n;
  }
}

TEST(Bandwidth, IsBytesOverTheMedianTimeOfAPass) {
  nn::ThreadPool pool(2);
  int calls = 0;
  double now = 0;
  // Six passes of 100 (the warm-up), 1, 2, 3, 4, 5 ms: the median of those that count is 3 ms.
  const Clock clock = [&] {
    const int pass = calls++ / 2;
    return calls % 2 == 1 ? now : now += pass == 0 ? 0.1 : 1e-3 * pass;
  };
  const Bandwidth found = measure_bandwidth(std::size_t{1} << 20U, pool, clock);
  EXPECT_EQ(found.bytes, std::size_t{1} << 20U);
  EXPECT_NEAR(found.gb_per_s, 1048576 / 3e-3 / 1e9, 1e-9);
}

/// Speeds of a tiny model by a clock whose steps, from start to stop, are given.
class SpeedTest : public testing::Test {
 protected:
  static Model tiny() {
    Shape shape = parse_shape("smollm-135m:Q8_0");
    shape.config.n_layers = 2;
    shape.config.n_vocab = 512;
    return make_random_model(shape, 0, 1);
  }

  /// Measurement i (a start and a stop each) takes steps[i] seconds.
  static Clock clock(std::vector<double> steps) {
    return [steps = std::move(steps), now = 0.0, calls = std::size_t{0}]() mutable {
      if (calls % 2 == 1) now += steps.at(calls / 2);
      ++calls;
      return now;
    };
  }

  Model model_ = tiny();
  nn::ThreadPool pool_{1};
};

TEST_F(SpeedTest, PoliciesTakeTurnsAndMediansAreOverRepetitions) {
  SpeedOptions options;
  options.kv = {"f16", "q4"};
  options.n_prompt = 0;
  options.n_gen = 8;
  options.repetitions = 3;
  options.session.context = 100;
  std::vector<std::string> order;
  options.on_progress = [&](const SpeedProgress& at) { order.push_back(at.kv); };
  options.clock = clock({100, 100, 1, 2, 2, 8, 4, 2});  // warm-up of both, then three repetitions
  const auto rows = measure_speed(model_, pool_, options);
  EXPECT_THAT(order, ElementsAre("f16", "q4", "f16", "q4", "f16", "q4", "f16", "q4"));
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_THAT(rows[0].decode.tok_per_s, ElementsAre(8, 4, 2));
  EXPECT_THAT(rows[1].decode.tok_per_s, ElementsAre(4, 1, 4));
  EXPECT_EQ(rows[0].decode.median, 4);
  EXPECT_EQ(rows[0].decode.deviation, 2);  // of 4, 0, 2
  EXPECT_EQ(rows[0].decode.ratio, 1);
  EXPECT_EQ(rows[1].decode.median, 4);
  EXPECT_EQ(rows[1].decode.ratio, 0.5);  // of 1/2, 1/4, 2
  EXPECT_THAT(rows[0].prefill.tok_per_s, IsEmpty());
}

TEST_F(SpeedTest, CacheIsThatOfASessionFedToTheDepth) {
  SpeedOptions options;
  options.kv = {"f16", "q4"};
  options.depths = {0, 1, 300, 700};
  options.n_prompt = 40;
  options.n_gen = 4;
  options.repetitions = 1;
  options.session.context = 800;
  const auto rows = measure_speed(model_, pool_, options);
  ASSERT_EQ(rows.size(), 8U);
  for (const SpeedRow& row : rows) {
    SCOPED_TRACE(row.kv + " at " + std::to_string(row.depth));
    SessionOptions session = options.session;
    session.kv = row.kv;
    Session fed(model_, pool_, session);
    if (row.depth > 0) fed.feed(std::vector<std::int32_t>(row.depth, 300));
    // A list of segments that grew may hold room for one more than a copy: 2 layers, 3 heads, K and V.
    const auto bytes = static_cast<double>(fed.cache().bytes());
    EXPECT_NEAR(static_cast<double>(row.kv_bytes), bytes, 12 * sizeof(kv::Segment));
    const double bits =
        row.depth == 0 ? 0 : fed.cache().bits_per_element() * static_cast<double>(row.kv_bytes) / bytes;
    EXPECT_DOUBLE_EQ(row.bits_per_element, bits);
    EXPECT_EQ(row.prefill.tok_per_s.size(), 1U);
    EXPECT_GT(row.prefill.median, 0);
    EXPECT_GT(row.decode.median, 0);
  }
}

TEST_F(SpeedTest, UnknownPolicyAndShortContextAreErrors) {
  SpeedOptions options;
  options.kv = {"q5"};
  EXPECT_THROW(measure_speed(model_, pool_, options), UsageError);
  options.kv = {"f16"};
  options.session.context = 10;
  EXPECT_THROW(measure_speed(model_, pool_, options), Error);
}

TEST(RooflineShare, IsOneWhenEveryByteComesAtTheBandwidth) {
  EXPECT_DOUBLE_EQ(roofline_share(100, 0.5e9, 50), 1);
  EXPECT_DOUBLE_EQ(roofline_share(100, 0.25e9, 50), 0.5);
}

}  // namespace
}  // namespace miser::eval
