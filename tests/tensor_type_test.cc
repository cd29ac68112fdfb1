#include "gguf/tensor_type.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "gguf/half.h"

namespace miser::gguf {

/// How GoogleTest prints the parameter of a test.
static void PrintTo(const TensorFormat& format, std::ostream* out) {  // NOLINT(readability-identifier-naming)
  *out << format.name;
}

namespace {

/// Random blocks of one format and their floats by the `gguf` package; layout in make_quant_vectors.py.
struct Vectors {
  std::uint32_t n_blocks = 0;
  std::uint32_t block_bytes = 0;
  std::uint32_t block_elements = 0;
  std::vector<std::byte> blocks;
  std::vector<std::uint32_t> expected;  ///< bits of floats, so that NaN and -0 are compared too
};

template <typename T>
void read(std::ifstream& in, T* to, std::size_t count) {
  in.read(reinterpret_cast<char*>(to), static_cast<std::streamsize>(count * sizeof(T)));
}

Vectors read_vectors(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  Vectors v;
  read(in, &v.n_blocks, 1);
  read(in, &v.block_bytes, 1);
  read(in, &v.block_elements, 1);
  if (!in) return {};
  v.blocks.resize(std::size_t{v.n_blocks} * v.block_bytes);
  v.expected.resize(std::size_t{v.n_blocks} * v.block_elements);
  read(in, v.blocks.data(), v.blocks.size());
  read(in, v.expected.data(), v.expected.size());
  return in ? v : Vectors{};
}

class Unpack : public testing::TestWithParam<TensorFormat> {};

TEST_P(Unpack, EqualsTheGgufPackageToTheBit) {
  const TensorFormat& format = GetParam();
  const std::string path = std::string(MISER_FIXTURES) + "/quants/" + std::string(format.name) + ".bin";
  const Vectors v = read_vectors(path);
  ASSERT_GT(v.n_blocks, 0U) << path << " is missing or cut short: run ./dev test, which makes the fixtures";
  ASSERT_EQ(format.block_bytes, v.block_bytes);
  ASSERT_EQ(format.block_elements, v.block_elements);

  std::vector<float> values(v.expected.size());
  format.unpack(v.blocks.data(), v.n_blocks, values.data());
  std::vector<std::uint32_t> bits(values.size());
  std::ranges::transform(values, bits.begin(), [](float x) { return std::bit_cast<std::uint32_t>(x); });
  const auto [ours, theirs] = std::ranges::mismatch(bits, v.expected);
  EXPECT_EQ(ours, bits.end()) << "first differing element " << (ours - bits.begin()) << ": "
                              << std::bit_cast<float>(*ours) << ", expected "
                              << std::bit_cast<float>(*theirs);
}

INSTANTIATE_TEST_SUITE_P(Format, Unpack, testing::ValuesIn(all_formats().begin(), all_formats().end()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(TensorFormat, IsFoundByTheNumberOfTheFileFormat) {
  // ggml's enum ggml_type; 36 to 38 are types that were removed, 16 is IQ2_XXS, which is not read.
  EXPECT_EQ(find_format(static_cast<TensorType>(3))->name, "Q4_1");
  EXPECT_EQ(find_format(static_cast<TensorType>(8))->name, "Q8_0");
  EXPECT_EQ(find_format(static_cast<TensorType>(23))->name, "IQ4_XS");
  EXPECT_EQ(find_format(static_cast<TensorType>(30))->name, "BF16");
  for (const std::uint32_t number : {4U, 5U, 16U, 36U, 0xFFFFFFFFU}) {
    EXPECT_EQ(find_format(static_cast<TensorType>(number)), nullptr) << number;
  }
}

TEST(HalfToFloat, KeepsInfinitiesAndNan) {
  EXPECT_EQ(half_to_float(0x7C00), std::numeric_limits<float>::infinity());
  EXPECT_EQ(half_to_float(0xFC00), -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(half_to_float(0x7E00)));
  EXPECT_TRUE(std::isnan(half_to_float(0x7C01)));
}

}  // namespace
}  // namespace miser::gguf
