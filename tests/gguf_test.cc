#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "gguf/file.h"
#include "gguf/printable.h"
#include "gguf_builder.h"
#include "gguf_walk.h"

namespace miser::gguf {
namespace {

using test::GgufBuilder;
using testing::ElementsAre;
using testing::HasSubstr;

/// What the Error of `action` says; fails the test when there is none.
template <typename F>
std::string error_of(F&& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.what();
  }
  ADD_FAILURE() << "no Error";
  return {};
}

/// The bytes in the ```hex block of a page: what stands left of "|" on each line.
std::vector<std::byte> read_hex_example(const std::string& path) {
  std::ifstream page(path);
  std::vector<std::byte> bytes;
  bool inside = false;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("```")) {
      inside = line == "```hex";
      continue;
    }
    if (!inside) continue;
    std::istringstream pairs(line.substr(0, line.find('|')));
    for (std::string pair; pairs >> pair;) {
      unsigned value = 0;
      std::from_chars(pair.data(), pair.data() + pair.size(), value, 16);
      bytes.push_back(static_cast<std::byte>(value));
    }
  }
  return bytes;
}

TEST(GgufDocs, ExampleParses) {
  const auto bytes = read_hex_example(MISER_SOURCE_DIR "/docs/gguf.md");
  ASSERT_EQ(bytes.size(), 188U);
  const File file = File::parse(bytes, "gguf.md");
  EXPECT_EQ(file.version(), 3U);
  EXPECT_EQ(file.alignment(), 16U);
  EXPECT_EQ(file.metadata().size(), 3U);
  EXPECT_EQ(file.find_number("x.ratio"), 0.75);
  EXPECT_THAT(*file.find_strings("x.words"), ElementsAre("a", "é"));
  const Tensor* w = file.find_tensor("w");
  ASSERT_NE(w, nullptr);
  EXPECT_EQ(w->format->name, "F16");
  EXPECT_EQ(w->cols(), 3U);
  EXPECT_EQ(w->rows(), 2U);
  std::vector<float> values(6);
  w->format->unpack(w->data.data(), 6, values.data());
  EXPECT_THAT(values, ElementsAre(1, 2, -0.5, 0.25, 0, 65504));
}

TEST(GgufFile, ReadsEveryScalarType) {
  const auto bytes = GgufBuilder()
                         .set<std::uint8_t>("u8", 255)
                         .set<std::int8_t>("i8", -128)
                         .set<std::uint16_t>("u16", 65535)
                         .set<std::int16_t>("i16", -32768)
                         .set<std::uint32_t>("u32", 4294967295U)
                         .set<std::int32_t>("i32", -2147483647)
                         .set<std::uint64_t>("u64", std::numeric_limits<std::uint64_t>::max())
                         .set<std::int64_t>("i64", -5000000000)
                         .set<float>("f32", 0.5F)
                         .set<double>("f64", 1e-300)
                         .set<bool>("bool", true)
                         .set("string", "text")
                         .bytes();
  const File file = File::parse(bytes, "t.gguf");
  EXPECT_EQ(file.find_uint("u8"), 255U);
  EXPECT_EQ(file.find_number("i8"), -128);
  EXPECT_EQ(file.find_uint("u16"), 65535U);
  EXPECT_EQ(file.find_number("i16"), -32768);
  EXPECT_EQ(file.find_uint("u32"), 4294967295U);
  EXPECT_EQ(file.find_number("i32"), -2147483647);
  EXPECT_EQ(file.find_uint("u64"), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(file.find_number("i64"), -5e9);
  EXPECT_EQ(file.find_number("f32"), 0.5);
  EXPECT_EQ(file.find_number("f64"), 1e-300);
  EXPECT_EQ(file.find_bool("bool"), true);
  EXPECT_EQ(file.find_string("string"), "text");
}

TEST(GgufFile, ReadsArrays) {
  const auto bytes = GgufBuilder()
                         .set_array<std::int32_t>("ints", {1, -2, 3})
                         .set_array<std::uint8_t>("bytes", {200, 0})
                         .set_array<float>("floats", {0.25F, -1})
                         .set_array<double>("doubles", {0.5})
                         .set_array<std::string>("strings", {"", "ab"})
                         .set_array<bool>("bools", {true, false})
                         .set_array<float>("empty", {})
                         .bytes();
  const File file = File::parse(bytes, "t.gguf");
  EXPECT_THAT(*file.find_ints("ints"), ElementsAre(1, -2, 3));
  EXPECT_THAT(*file.find_floats("ints"), ElementsAre(1, -2, 3));
  EXPECT_THAT(*file.find_ints("bytes"), ElementsAre(200, 0));
  EXPECT_THAT(*file.find_floats("floats"), ElementsAre(0.25F, -1));
  EXPECT_THAT(*file.find_floats("doubles"), ElementsAre(0.5F));
  EXPECT_THAT(*file.find_strings("strings"), ElementsAre("", "ab"));
  EXPECT_THAT(*file.find_floats("empty"), ElementsAre());
  const auto& bools = std::get<Array>(*file.find("bools"));
  EXPECT_TRUE(std::get<bool>(array_element(bools, 0)));
  EXPECT_FALSE(std::get<bool>(array_element(bools, 1)));
}

TEST(GgufFile, VersionTwoReadsLikeThree) {
  const auto bytes = GgufBuilder(2).set("a", 7U).tensor("w", {2}, std::vector<float>{1, 2}).bytes();
  const File file = File::parse(bytes, "t.gguf");
  EXPECT_EQ(file.version(), 2U);
  EXPECT_EQ(file.find_uint("a"), 7U);
  EXPECT_EQ(file.find_tensor("w")->data.size(), 8U);
}

TEST(GgufFile, FindsEachTensorsOwnBytes) {
  const std::vector<float> a = {1, 2, 3};
  const std::vector<float> b = {4, 5, 6, 7, 8, 9};
  const auto bytes = GgufBuilder().alignment(64).tensor("a", {3}, a).tensor("b", {3, 1, 2}, b).bytes();
  const File file = File::parse(bytes, "t.gguf");
  const auto values = [&](const char* name) {
    const Tensor* tensor = file.find_tensor(name);
    std::vector<float> out(tensor->rows() * tensor->cols());
    tensor->format->unpack(tensor->data.data(), out.size(), out.data());
    return out;
  };
  EXPECT_EQ(values("a"), a);
  EXPECT_EQ(values("b"), b);
  EXPECT_EQ(file.find_tensor("c"), nullptr);
}

TEST(GgufFile, MissingKeysAreNoErrors) {
  const auto bytes = GgufBuilder().bytes();
  const File file = File::parse(bytes, "t.gguf");
  EXPECT_EQ(file.find("x"), nullptr);
  EXPECT_EQ(file.find_uint("x"), std::nullopt);
  EXPECT_EQ(file.find_number("x"), std::nullopt);
  EXPECT_EQ(file.find_bool("x"), std::nullopt);
  EXPECT_EQ(file.find_string("x"), std::nullopt);
  EXPECT_EQ(file.find_strings("x"), nullptr);
  EXPECT_EQ(file.find_floats("x"), std::nullopt);
  EXPECT_EQ(file.find_ints("x"), std::nullopt);
}

TEST(GgufFile, MistypedLookupsNameKeyFoundAndExpected) {
  const auto bytes = GgufBuilder()
                         .set("s", "text")
                         .set("neg", -5)
                         .set("f", 1.5F)
                         .set("flag", true)
                         .set_array<float>("floats", {1})
                         .set_array<std::string>("strings", {"a"})
                         .set_array<bool>("bools", {true})
                         .set_array<std::uint64_t>("big", {std::uint64_t{1} << 63})
                         .bytes();
  const File file = File::parse(bytes, "t.gguf");
  const auto expect = [](auto lookup, const char* message) { EXPECT_EQ(error_of(lookup), message); };
  expect([&] { file.find_uint("s"); }, "t.gguf: key s: type is string, expected an integer");
  expect([&] { file.find_uint("neg"); }, "t.gguf: key neg: value is -5, expected at least 0");
  expect([&] { file.find_uint("f"); }, "t.gguf: key f: type is f32, expected an integer");
  expect([&] { file.find_uint("flag"); }, "t.gguf: key flag: type is bool, expected an integer");
  expect([&] { file.find_number("floats"); }, "t.gguf: key floats: type is array of f32, expected a number");
  expect([&] { file.find_bool("neg"); }, "t.gguf: key neg: type is i32, expected bool");
  expect([&] { file.find_string("flag"); }, "t.gguf: key flag: type is bool, expected string");
  expect([&] { file.find_strings("floats"); },
         "t.gguf: key floats: type is array of f32, expected array of string");
  expect([&] { file.find_floats("strings"); },
         "t.gguf: key strings: type is array of string, expected array of numbers");
  expect([&] { file.find_floats("bools"); },
         "t.gguf: key bools: type is array of bool, expected array of numbers");
  expect([&] { file.find_ints("floats"); },
         "t.gguf: key floats: type is array of f32, expected array of integers");
  expect([&] { file.find_ints("s"); }, "t.gguf: key s: type is string, expected array of integers");
  expect([&] { file.find_ints("big"); },
         "t.gguf: key big: element 0 is 9223372036854775808, expected at most 2^63 - 1");
}

TEST(GgufFile, OpenNamesWhatIsNoFile) {
  const std::string directory = testing::TempDir();
  EXPECT_THAT(error_of([&] { File::open(directory); }), HasSubstr("is a directory"));
  EXPECT_THAT(error_of([] { File::open("no/such.gguf"); }), HasSubstr("no/such.gguf: cannot open"));
}

TEST(GgufFile, OpenedFileMayBeMoved) {
  const std::string path = testing::TempDir() + "/moved.gguf";
  const auto bytes = GgufBuilder().set("a", "text").tensor("w", {1}, std::vector<float>{5}).bytes();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  File opened = File::open(path);
  std::filesystem::remove(path);
  const File file = std::move(opened);
  EXPECT_EQ(file.find_string("a"), "text");
  EXPECT_EQ(file.find_tensor("w")->data.size(), 4U);
}

TEST(Printable, EscapesControlsAndMalformedUtf8AndCutsAtACharacter) {
  EXPECT_EQ(printable("blk.0.attn_q"), "blk.0.attn_q");
  EXPECT_EQ(printable("a\n\x1b[31m"), "a\\x0a\\x1b[31m");
  EXPECT_EQ(printable("Ġ é \xC2\x9B"), "Ġ é \\xc2\\x9b");
  EXPECT_EQ(printable("\xFF\xE2\x82"), "\\xff\\xe2\\x82");
  EXPECT_EQ(printable("aéb", 2), "aé...");
  EXPECT_EQ(printable(std::string(1000, 'x'), 10), "xxxxxxxxxx...");
}

TEST(GgufFile, ReadsTheReferenceModels) {
  const std::string reference = MISER_SOURCE_DIR "/../shared/reference/";
  if (!std::filesystem::exists(reference)) {
    std::puts("GgufFile.ReadsTheReferenceModels not run: there is no ../shared/reference");
    return;
  }
  const File gpt2 = File::open(reference + "tokenizer/ggml-vocab-gpt-2.gguf");
  EXPECT_EQ(gpt2.find_strings("tokenizer.ggml.tokens")->size(), 50257U);
  EXPECT_TRUE(gpt2.tensors().empty());
  const File spm = File::open(reference + "tokenizer/ggml-vocab-llama-spm.gguf");
  EXPECT_EQ(spm.find_floats("tokenizer.ggml.scores")->size(), 32000U);
  const File stories = File::open(reference + "stories260K/stories260K.gguf");
  EXPECT_EQ(stories.find_uint("llama.embedding_length"), 64U);
  EXPECT_EQ(stories.find_uint("llama.block_count"), 5U);
  EXPECT_THAT(stories.find_tensor("token_embd.weight")->shape, ElementsAre(64, 512));
}

}  // namespace
}  // namespace miser::gguf
