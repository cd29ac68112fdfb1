#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "base/error.h"
#include "gguf/file.h"
#include "gguf_builder.h"
#include "gguf_walk.h"

namespace miser::gguf {
namespace {

using test::ByteWriter;
using test::GgufBuilder;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kHuge = std::uint64_t{1} << 60;
constexpr std::array<float, 4> kFour = {1, 2, 3, 4};

/// What parse says of `bytes`: its Error, or "" when it reads them. Anything but Error fails the test.
std::string complaint(std::span<const std::byte> bytes) {
  try {
    test::walk(bytes, File::parse(bytes, "bad.gguf"));
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

/// A file with every kind of field, all of whose bytes matter.
Bytes small_file() {
  return GgufBuilder()
      .alignment(8)
      .set("text", "abc")
      .set("flag", true)
      .set("double", 0.5)
      .set_array<std::int16_t>("ints", {1, 2, 3})
      .set_array<std::string>("words", {"x", "yz"})
      .tensor("norm", {4}, kFour)
      .tensor("w", {32, 2}, TensorType::kQ4_0, Bytes(36, std::byte{0x31}))
      .bytes();
}

TEST(GgufReject, FileCutAnywhere) {
  const Bytes whole = small_file();
  EXPECT_EQ(complaint(whole), "");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_THAT(complaint(cut), testing::StartsWith("bad.gguf: "))
        << size << " of " << whole.size() << " bytes";
  }
}

TEST(GgufReject, AnyFlippedBitIsReadOrRefusedInOneLine) {
  Bytes bytes = small_file();
  std::size_t n_refused = 0;
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    const auto mask = std::byte{1} << (bit % 8);
    bytes[bit / 8] ^= mask;
    const std::string said = complaint(bytes);
    EXPECT_EQ(said.find('\n'), std::string::npos) << said;
    EXPECT_LT(said.size(), 500U) << said;
    n_refused += said.empty() ? 0 : 1;
    bytes[bit / 8] ^= mask;
  }
  // Lengths, counts, types, offsets and shapes are more than a quarter of this file; names and data any bits
  // will do.
  EXPECT_GT(n_refused, 2 * bytes.size());
}

/// A file of 24 + `tail` bytes that claims `n_tensors` and `n_entries`.
Bytes header(std::uint32_t version, std::uint64_t n_tensors, std::uint64_t n_entries, std::size_t tail = 0) {
  ByteWriter out;
  out.put_bytes(std::as_bytes(std::span("GGUF", 4))).put(version).put(n_tensors).put(n_entries);
  out.put_bytes(Bytes(tail));
  return out.bytes();
}

/// A file whose only metadata value has type number `type` and the bytes of `value`.
Bytes value_file(std::uint32_t type, const ByteWriter& value) {
  return GgufBuilder().set_raw("k", type, value.bytes()).bytes();
}

Bytes array_file(std::uint32_t element_type, std::uint64_t size) {
  return value_file(9, ByteWriter().put(element_type).put(size).put<std::uint64_t>(0));
}

Bytes tensor_file(const std::vector<std::uint64_t>& shape, TensorType type = TensorType::kF32,
                  std::uint64_t offset = 0) {
  return GgufBuilder().tensor("w", shape, type, std::as_bytes(std::span(kFour)), offset).bytes();
}

struct Case {
  Bytes bytes;
  std::string message;
};

void expect_messages(const std::vector<Case>& cases) {
  for (const auto& [bytes, message] : cases) EXPECT_EQ(complaint(bytes), "bad.gguf: " + message);
}

TEST(GgufReject, Headers) {
  Bytes wrong_magic = header(3, 0, 0);
  wrong_magic[0] = std::byte{0x1B};
  expect_messages({
      {{}, "header: magic of 4 bytes at byte 0 is past the end of the file (0 bytes)"},
      {wrong_magic, "header: magic is '\\x1bGUF', expected 'GGUF'"},
      {header(0, 0, 0), "header: version is 0, expected 2 or 3"},
      {header(1, 0, 0), "header: version is 1, expected 2 or 3"},
      {header(4, 0, 0), "header: version is 4, expected 2 or 3"},
      {header(0x03000000, 0, 0), "header: file is big-endian, expected little-endian"},
      {header(3, kHuge, 0, 64), "header: tensor count is 1152921504606846976, but only 64 bytes follow"},
      {header(3, 0, kHuge, 64), "header: metadata count is 1152921504606846976, but only 64 bytes follow"},
      {header(3, 0, 5, 64), "header: metadata count is 5, but only 64 bytes follow"},
      {header(3, 2, 0, 64), "header: tensor count is 2, but only 64 bytes follow"},
  });
}

TEST(GgufReject, Metadata) {
  const auto huge_string = ByteWriter().put(kHuge).put<std::uint64_t>(0);
  const auto huge_key = ByteWriter().put(kHuge).put<std::uint64_t>(0);
  ByteWriter claims_key;
  claims_key.put_bytes(header(3, 0, 1)).put_bytes(huge_key.bytes());
  expect_messages({
      {claims_key.bytes(),
       "metadata entry 1 of 1: key of 1152921504606846976 bytes at byte 32 is past the end of the file (40 "
       "bytes)"},
      {GgufBuilder().set("", 1U).bytes(), "metadata entry 1 of 1: key has 0 bytes, expected 1 to 65535"},
      {GgufBuilder().set(std::string(65536, 'k'), 1U).bytes(),
       "metadata entry 1 of 1: key has 65536 bytes, expected 1 to 65535"},
      {GgufBuilder().set("a", 1U).set("a", 1U).bytes(), "key a: appears twice, expected once"},
      {value_file(8, huge_string),
       "key k: string of 1152921504606846976 bytes at byte 45 is past the end of the file (53 bytes)"},
      {value_file(13, huge_string), "key k: value type is 13, expected 0 to 12"},
      {value_file(7, ByteWriter().put<std::uint8_t>(2)), "key k: bool is 2, expected 0 or 1"},
      {array_file(0, kHuge),
       "key k: array of 1152921504606846976 elements of at least 1 bytes is past the end of "
       "the file (57 bytes)"},
      {array_file(12, std::uint64_t{1} << 61),
       "key k: array of 2305843009213693952 elements of at least 8 bytes "
       "is past the end of the file (57 bytes)"},
      {array_file(8, 2),
       "key k: array of 2 elements of at least 8 bytes is past the end of the file (57 bytes)"},
      {array_file(9, 1), "key k: array of arrays is not supported"},
      {array_file(99, 0), "key k: element type is 99, expected 0 to 12"},
  });
}

TEST(GgufReject, Alignments) {
  for (const std::uint32_t alignment : {0U, 1U, 4U, 24U, 1U << 21}) {
    expect_messages({{GgufBuilder().set("general.alignment", alignment).bytes(),
                      "key general.alignment: value is " + std::to_string(alignment) +
                          ", expected a power of two from 8 to 1048576"}});
  }
  expect_messages({{GgufBuilder().set("general.alignment", "32").bytes(),
                    "key general.alignment: type is string, expected an integer"}});
}

TEST(GgufReject, Shapes) {
  expect_messages({
      {tensor_file({}), "tensor w: has 0 dimensions, expected 1 to 4"},
      {tensor_file({1, 1, 1, 1, 1}), "tensor w: has 5 dimensions, expected 1 to 4"},
      {tensor_file({4, 0}), "tensor w: dimension 1 is 0, expected at least 1"},
      {tensor_file({kHuge, 16}), "tensor w: shape [1152921504606846976, 16] has too many elements"},
      {tensor_file({kHuge, 4}), "tensor w: shape [1152921504606846976, 4] has too many elements"},
      {tensor_file({4, kHuge - 1}),
       "tensor w: offset 0 + 18446744073709551600 bytes is past the end of the file "
       "(112 bytes, data from byte 96)"},
      {tensor_file({16}, TensorType::kQ8_0),
       "tensor w: rows of 16 elements, expected a multiple of 32 for type Q8_0"},
      {tensor_file({4}, static_cast<TensorType>(16)), "tensor w: type 16 is not supported"},
  });
  Bytes huge_n = tensor_file({4});
  huge_n[24 + 9 + 3] = std::byte{0xFF};  // the top byte of n, behind header and name
  expect_messages({{huge_n, "tensor w: has 4278190081 dimensions, expected 1 to 4"}});
}

TEST(GgufReject, TensorPlaces) {
  const auto two = [](std::uint64_t first, std::uint64_t second, const char* name) {
    return GgufBuilder()
        .tensor("a", {16}, std::vector<float>(16), first)
        .tensor(name, {16}, std::vector<float>(16), second)
        .bytes();
  };
  EXPECT_EQ(complaint(two(0, 64, "b")), "");
  EXPECT_EQ(complaint(two(64, 0, "b")), "");
  expect_messages({
      {two(0, 0, "b"), "tensor b: offset 0 is inside tensor a (offset 0, 64 bytes)"},
      {two(64, 32, "b"), "tensor a: offset 64 is inside tensor b (offset 32, 64 bytes)"},
      {two(0, 64, "a"), "tensor a: appears twice, expected once"},
      {two(0, 60, "b"), "tensor b: offset is 60, expected a multiple of 32"},
      {tensor_file({4}, TensorType::kF32, 32),
       "tensor w: offset 32 + 16 bytes is past the end of the file (80 bytes, data from byte 64)"},
      {tensor_file({4}, TensorType::kF32, ~std::uint64_t{31}),
       "tensor w: offset 18446744073709551584 + 16 bytes is past the end of the file (80 bytes, data from "
       "byte 64)"},
  });
}

TEST(GgufReject, HostileNamesAreEscapedAndCut) {
  const std::string name = "\x1b[2J\n\xFF" + std::string(1000, 'x');
  const auto bytes = GgufBuilder().tensor(name, {}, TensorType::kF32, {}).bytes();
  EXPECT_EQ(complaint(bytes), "bad.gguf: tensor \\x1b[2J\\x0a\\xff" + std::string(58, 'x') +
                                  "...: has 0 dimensions, expected 1 to 4");
}

}  // namespace
}  // namespace miser::gguf
