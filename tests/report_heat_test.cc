#include "report/heat_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <tuple>

#include "base/error.h"
#include "report/width_map.h"
#include "tiny_model.h"

namespace miser::report {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;

/// Random widths, remembered.
class Dice : public kv::WidthChooser {
 public:
  using Key = std::tuple<std::size_t, std::size_t, std::size_t, std::size_t>;  // position, layer, side, head

  void choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) override {
    for (std::size_t h = 0; h < block.n_kv_heads; ++h) {
      for (std::size_t i = 0; i < block.n_tokens; ++i) {
        const std::size_t position = block.first_position + i;
        widths.k[h * block.n_tokens + i] = chosen[{position, block.layer, 0, h}] = roll();
        widths.v[h * block.n_tokens + i] = chosen[{position, block.layer, 1, h}] = roll();
      }
    }
  }
  std::map<Key, kv::Width> chosen;

 private:
  kv::Width roll() { return kv::kAllWidths[random_() % kv::kWidthCount]; }
  std::mt19937 random_{7};
};

TEST(WidthMapTest, IsWhatThePolicyChose) {
  const Model model = Model::load(test::tiny_models()[0].path);
  const ModelConfig& c = model.config();
  kv::CacheConfig config{c.n_layers, c.n_kv_heads, c.n_heads, c.head_dim, 600};
  kv::Cache cache(config);
  nn::ThreadPool pool(1);
  kv::Attention attention(cache, pool);
  Forward forward(model, pool);
  Dice dice;
  const std::vector<std::int32_t> tokens(45, 5);
  for (std::size_t done = 0; done < 585; done += tokens.size()) {
    SequencePart part{tokens, &cache, &attention, &dice};
    forward.run({&part, 1});
  }

  const WidthMap map = width_map(cache);
  ASSERT_EQ(map.n_tokens, 585U);
  ASSERT_EQ(map.widths.size(), 585 * c.n_layers * 2 * c.n_kv_heads);
  ASSERT_GT(dice.chosen.size(), 500 * map.per_token());  // more than two segments
  std::size_t at = 0;
  for (std::size_t position = 0; position < map.n_tokens; ++position) {
    for (std::size_t layer = 0; layer < c.n_layers; ++layer) {
      for (std::size_t side = 0; side < 2; ++side) {
        for (std::size_t head = 0; head < c.n_kv_heads; ++head) {
          const auto chosen = dice.chosen.find({position, layer, side, head});
          const kv::Width expected = chosen == dice.chosen.end() ? kv::Width::k16 : chosen->second;
          ASSERT_EQ(map.widths[at++], expected) << position << " " << layer << " " << side << " " << head;
        }
      }
    }
  }
}

class HeatMapTest : public ::testing::Test {
 protected:
  HeatMap run(const std::string& kv, const std::string& text) {
    SessionOptions options;
    options.kv = kv;
    return heat_map(model_, pool_, tokenizer_, std::move(options), text);
  }

  std::string error_of(const std::string& text) {
    try {
      run("q4", text);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }

  static std::string path_of(const std::string& name) { return MISER_FIXTURES "/tiny/" + name + ".gguf"; }
  Model model_ = Model::load(path_of("f32_long"));
  Tokenizer tokenizer_{model_.file()};
  nn::ThreadPool pool_{1};
};

TEST_F(HeatMapTest, ShowsTheWholeTextWithTheWidthsOfItsPolicy) {
  std::string text;
  while (text.size() < 150) text += "Keys are not values, and 4719 is a number. ";
  const HeatMap map = run("k3v2", text);
  std::string pieces;
  std::size_t packed = 0;
  for (const HeatToken& token : map.tokens) {
    pieces += token.piece;
    packed += token.state == TokenState::kPacked ? 1 : 0;
    EXPECT_EQ(token.bits, token.state == TokenState::kPacked ? 2.5 : 16);
    ASSERT_EQ(token.widths.size(), 2 * map.n_layers * map.n_kv_heads);
    const std::string heads(map.n_kv_heads, '2');
    if (token.state == TokenState::kPacked) {
      EXPECT_EQ(token.widths.substr(0, 2 * map.n_kv_heads), heads + std::string(map.n_kv_heads, '1'));
    }
    EXPECT_GT(token.signals.confidence, 0);
  }
  EXPECT_THAT(pieces, EndsWith(text));
  EXPECT_EQ(map.tokens[3].state, TokenState::kSink);
  EXPECT_EQ(map.tokens.back().state, TokenState::kStaged);
  // By the rule of positions the query at n - 1 reads blocks that end at n - 1 - 32 or before.
  EXPECT_EQ(packed, (map.tokens.size() - 1 - 32) / 32 * 32 - 4);
}

TEST_F(HeatMapTest, WritesPartsOfACharacterAsBytes) {
  std::string pieces;
  for (const HeatToken& token : run("q4", "\u2603").tokens) pieces += token.piece;
  EXPECT_THAT(pieces, EndsWith("‹E2›‹98›‹83›"));
}

TEST_F(HeatMapTest, RefusesTextsThatAreEmptyOrTooLong) {
  EXPECT_THAT(error_of(std::string(40'000, '7')),
              AllOf(HasSubstr("the text of the report: found "), EndsWith(" tokens, expected 1 to 2000")));
  EXPECT_THAT(error_of(""), HasSubstr("found 0 tokens, expected 1 to 2000"));
}

}  // namespace
}  // namespace miser::report
