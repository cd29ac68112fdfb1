// A trained model of 260,000 parameters, whose greedy text llama2.c has printed.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "model/model.h"
#include "nn/thread_pool.h"
#include "real_model.h"
#include "tokenizer/tokenizer.h"

namespace miser {
namespace {

const std::string kFolder = MISER_SOURCE_DIR "/../shared/reference/stories260K/";

TEST(Stories, GreedyTextEqualsLlama2cToTheLastCharacter) {
  if (!std::filesystem::exists(kFolder)) {
    std::puts("not run: the stories260K model is not beside this checkout (../shared/reference)");
    return;
  }
  const Model model = Model::load(kFolder + "stories260K.gguf");
  const Tokenizer tokenizer(model.file());
  nn::ThreadPool pool(2);
  SessionOptions options;
  options.kv = "f16";
  Session session(model, pool, options);

  constexpr std::int32_t kBos = 1;
  constexpr std::size_t kSampled = 257;  // as many as the reference printed before its limit of steps
  std::vector<std::int32_t> tokens = {kBos};
  while (tokens.size() <= kSampled) {
    tokens.push_back(static_cast<std::int32_t>(test::argmax(session.feed({&tokens.back(), 1}))));
  }
  std::string text = tokenizer.decode(tokens);
  if (text.starts_with(' ')) text.erase(0, 1);  // llama2.c strips the space of the first word

  std::ifstream file(kFolder + "expected_greedy.txt");
  const std::string expected{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(text + "\n", expected);
}

}  // namespace
}  // namespace miser
