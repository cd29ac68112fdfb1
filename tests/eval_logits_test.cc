// Files of reference logits in llama-perplexity's format, and texts cut into contexts.
#include "eval/logits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "eval/kl_contexts.h"
#include "eval/kl_run.h"
#include "temporary_folder.h"
#include "tiny_model.h"

namespace miser::eval {
namespace {

using test::error_of;
using testing::ElementsAre;
using testing::HasSubstr;

template <typename T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

/// The codes of one row: 65,535 steps over the largest 16 nats of the log-probabilities.
std::string row_bytes(std::span<const float> logits) {
  double sum = 0;
  const float max = *std::max_element(logits.begin(), logits.end());
  const float min = std::max(*std::min_element(logits.begin(), logits.end()), max - 16);
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - static_cast<double>(max));
  const float scale = (max - min) / 65535;
  std::string bytes;
  append(bytes, scale);
  append(bytes, min - max - static_cast<float>(std::log(sum)));
  for (const float logit : logits)
    append(bytes, static_cast<std::uint16_t>(std::lround(std::max(logit - min, 0.0F) / scale)));
  if (logits.size() % 2 == 1) append(bytes, std::uint16_t{0});
  return bytes;
}

std::string header_bytes(std::int32_t n_ctx, std::int32_t n_vocab, std::int32_t n_chunk) {
  std::string bytes = "_logits_";
  for (const std::int32_t count : {n_ctx, n_vocab, n_chunk}) append(bytes, count);
  return bytes;
}

class Logits : public ::testing::Test {
 protected:
  void write(std::string_view bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }

  test::TemporaryFolder folder_;
  std::string path_ = folder_.file("file");
};

/// 2 contexts of 4 tokens, 5 logits: one row each, of position 2.
std::string small_file() {
  std::string bytes = header_bytes(4, 5, 2);
  for (const std::int32_t id : {0, 1, 2, 3, 4, 3, 2, 1}) append(bytes, id);
  for (const float shift : {0.0F, 0.5F}) {
    bytes += row_bytes(std::vector<float>{shift, 1, 2, -1, -40});
  }
  return bytes;
}

TEST_F(Logits, RowsComeBackWithinHalfAStepAndTheFloorBelow16Nats) {
  write(small_file());
  const LogitsFile file(path_);
  EXPECT_EQ(file.context(), 4U);
  EXPECT_EQ(file.n_contexts(), 2U);
  EXPECT_EQ(file.first_scored(), 2U);
  EXPECT_THAT(file.tokens(1), ElementsAre(4, 3, 2, 1));
  std::vector<float> row(5);
  file.read_row(1, 2, row);
  const double log_sum = std::log(std::exp(0.5) + std::exp(1.0) + std::exp(2.0) + std::exp(-1.0));
  const double half_step = 16.0 / 65535 / 2 + 1e-6;
  EXPECT_NEAR(row[0], 0.5 - log_sum, half_step);
  EXPECT_NEAR(row[2], 2.0 - log_sum, half_step);
  EXPECT_NEAR(row[3], -1.0 - log_sum, half_step);
  EXPECT_LE(row[4], LogitsFile::kFloor);
}

TEST_F(Logits, MalformedFilesAreRejectedNamingTheField) {
  const std::string good = small_file();
  std::string bad_id = good;
  bad_id[20 + 4 * 3] = 5;
  const std::pair<std::string, std::string> cases[] = {
      {"", "no file of reference logits"},
      {good.substr(0, 19), "no file of reference logits"},
      {"_logitz_" + good.substr(8), "no file of reference logits"},
      {good + "x", "found 73 bytes after the counts, expected 2 contexts of 36 bytes"},
      {good.substr(0, good.size() - 1), "found 71 bytes after the counts"},
      {header_bytes(2, 5, 1), "n_ctx is 2, expected at least 3"},
      {header_bytes(4, 0, 1), "n_vocab is 0"},
      {header_bytes(4, 5, -1), "n_chunk is -1"},
      {header_bytes(0x7fffffff, 0x7fffffff, 0x7fffffff), "expected 2147483647 contexts of"},
      {bad_id, "token 3 is 5, expected an id below 5"},
  };
  for (const auto& [bytes, reason] : cases) {
    write(bytes);
    EXPECT_THAT(error_of([&] { const LogitsFile file(path_); }), HasSubstr(reason));
  }
}

TEST_F(Logits, RowsOfImpossibleNumbersAreRejectedNamingThePosition) {
  for (const float wrong : {NAN, INFINITY, -1.0F}) {
    std::string bytes = small_file();
    std::memcpy(bytes.data() + bytes.size() - 20, &wrong, sizeof(wrong));  // scale of the last row
    write(bytes);
    const LogitsFile file(path_);
    std::vector<float> row(5);
    EXPECT_THAT(error_of([&] { file.read_row(1, 2, row); }), HasSubstr("context 1, position 2: found scale"));
  }
}

const test::TinyModel& long_model() {
  static const auto models = test::tiny_models();
  return models.front();
}

TEST_F(Logits, PoliciesComparedWithASavedReferenceHaveTheKlOfItsLogits) {
  const test::TinyModel& tiny = long_model();
  const Model model = Model::load(tiny.path);
  nn::ThreadPool pool(2);
  constexpr std::size_t kLength = 200;
  const auto tokens = std::span(tiny.tokens).first(kLength);
  SessionOptions f16;
  f16.kv = "f16";
  Session session(model, pool, f16);
  const auto logits = test::all_logits(session, tokens);
  const std::size_t n_vocab = model.config().n_vocab;
  std::string bytes = header_bytes(kLength, static_cast<std::int32_t>(n_vocab), 1);
  for (const std::int32_t id : tokens) append(bytes, id);
  for (std::size_t t = kLength / 2; t + 1 < kLength; ++t)
    bytes += row_bytes(std::span(logits).subspan(t * n_vocab, n_vocab));
  write(bytes);
  const LogitsFile file(path_);
  const std::vector<std::string> kv = {"f16", "q2"};
  const auto go_on = [] { return true; };
  const auto direct = KlRun(model, pool, {kl_arms(kv, {}), kLength / 2, nullptr}).run(0, 0, tokens, go_on);
  const auto saved =
      KlRun(model, pool, {kl_arms(kv, {}), kLength / 2, &file}).run(0, 0, file.tokens(0), go_on);
  ASSERT_EQ(saved->arms[1].kl.size(), direct->arms[1].kl.size());
  for (std::size_t i = 0; i < direct->arms[1].kl.size(); ++i) {
    // A log-probability is off by half a step of 16 / 65535 nats at most.
    EXPECT_NEAR(saved->arms[0].kl[i], 0.0, 1.3e-4);
    EXPECT_NEAR(saved->arms[1].kl[i], direct->arms[1].kl[i], 1.3e-4);
    EXPECT_EQ(saved->arms[1].logprob[i], direct->arms[1].logprob[i]);
  }
  EXPECT_GT(*std::max_element(direct->arms[1].kl.begin(), direct->arms[1].kl.end()), 1e-3);
}

/// A letter is a token of its own: no merge of the fixtures' vocabulary joins 'q' and 'z'.
std::string letters(std::size_t n) {
  std::string text;
  for (std::size_t i = 0; i < n; ++i) text += i % 2 == 0 ? 'q' : 'z';
  return text;
}

TEST_F(Logits, TextsAreCutIntoContextsAndALimitIsSpreadEvenly) {
  const gguf::File file = gguf::File::open(long_model().path);
  const Tokenizer tokenizer(file);
  const std::string text = letters(103);
  write(text);
  const auto ids = tokenizer.encode(text, {.add_special = true, .parse_special = false});
  const Contexts all = read_contexts({path_, path_}, tokenizer, 10, 0);
  ASSERT_EQ(all.size(), 2 * (ids.size() / 10));
  for (std::size_t i = 0; i < 10; ++i) EXPECT_EQ(all.at(1)[i], ids[10 + i]);
  const Contexts some = read_contexts({path_}, tokenizer, 10, 3);
  EXPECT_THAT(some.source, ElementsAre(0, all.available / 2 / 3, 2 * (all.available / 2) / 3));
  EXPECT_EQ(some.at(2)[0], ids[10 * some.source[2]]);
  EXPECT_THAT(error_of([&] { read_contexts({path_}, tokenizer, 200, 0); }),
              HasSubstr("tokens, expected at least one context of 200"));
}

TEST_F(Logits, EveryContextBeginsWithBosWhereTheTokenizerAddsIt) {
  for (const test::TinyModel& tiny : test::tiny_models()) {
    const gguf::File file = gguf::File::open(tiny.path);
    const Tokenizer tokenizer(file);
    if (!tokenizer.adds_bos()) continue;
    write(letters(60));
    const Contexts contexts = read_contexts({path_}, tokenizer, 20, 0);
    ASSERT_GE(contexts.size(), 2U);
    for (std::size_t i = 0; i < contexts.size(); ++i) EXPECT_EQ(contexts.at(i)[0], tokenizer.bos());
    return;
  }
  FAIL() << "no tiny model adds BOS";
}

TEST_F(Logits, TextIsReadGzippedOrNotAndMustBeUtf8) {
  const gzFile gzip = gzopen(path_.c_str(), "wb");
  gzputs(gzip, "fünf\n");
  gzclose(gzip);
  EXPECT_EQ(read_text(path_), "fünf\n");
  const std::string packed = [&] {
    std::ifstream in(path_, std::ios::binary);
    return std::string{std::istreambuf_iterator<char>(in), {}};
  }();
  write(packed.substr(0, packed.size() - 4));
  EXPECT_THAT(error_of([&] { read_text(path_); }), HasSubstr("cannot be read"));
  write("one\ntwo \xff\n");
  EXPECT_THAT(error_of([&] { read_text(path_); }), HasSubstr("file:2: found byte 0xff, expected UTF-8"));
  write("");
  EXPECT_THAT(error_of([&] { read_text(path_); }), HasSubstr("is empty"));
}

}  // namespace
}  // namespace miser::eval
