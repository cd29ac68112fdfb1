// Traces on disk: what is written comes back, and a damaged file is an error that says where.
#include "learn/trace_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <numeric>

#include "temporary_folder.h"

namespace miser::learn {
namespace {

using test::error_of;
using ::testing::HasSubstr;

constexpr std::size_t kVersionAt = 8;
constexpr std::size_t kSourceBytesAt = 12;
constexpr std::size_t kFieldsAt = 16;
constexpr std::size_t kHeadBytes = 16 + 11 * 8;

template <class T>
std::vector<T> counted(std::size_t size, int from) {
  std::vector<T> values(size);
  std::iota(values.begin(), values.end(), static_cast<T>(from));
  return values;
}

Trace sample() {
  Trace t;
  t.n_layers = 2;
  t.n_heads = 4;
  t.n_kv_heads = 2;
  t.head_dim = 3;
  t.length = 9;
  t.first = 1;
  t.n = 5;
  t.window = 2;
  t.block = 1;
  t.n_samples = 7;
  t.seed = 0xfedcba9876543210;
  t.ids = counted<std::int32_t>(9, 1);
  t.received = counted<float>(40, 2);
  t.received_sq = counted<float>(20, 3);
  t.received_max = counted<float>(20, 4);
  t.k = counted<std::uint16_t>(60, 5);
  t.v = counted<std::uint16_t>(60, 6);
  t.token_signals = counted<float>(20, 7);
  t.fisher = counted<float>(40, 8);
  t.future = counted<float>(5, 9);
  return t;
}

class TraceFileTest : public ::testing::Test {
 protected:
  TraceFileTest() {
    write_trace(path, sample(), "source");
    std::ifstream file(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }

  /// The error of reading a file of `changed` bytes.
  std::string error(const std::string& changed) const {
    std::ofstream(path, std::ios::binary) << changed;
    return error_of([&] { read_trace(path); });
  }
  template <class T>
  std::string error(std::size_t at, T value) const {
    std::string changed = bytes;
    std::memcpy(changed.data() + at, &value, sizeof(value));
    return error(changed);
  }

  test::TemporaryFolder folder;
  std::string path = folder.file("a.trace");
  std::string bytes;
};

TEST_F(TraceFileTest, WhatIsWrittenComesBack) {
  const auto [trace, source] = read_trace(path);
  const Trace expected = sample();
  EXPECT_EQ(source, "source");
  EXPECT_EQ(read_trace_source(path), "source");
  EXPECT_EQ(trace.n_layers, 2U);
  EXPECT_EQ(trace.n_heads, 4U);
  EXPECT_EQ(trace.n_kv_heads, 2U);
  EXPECT_EQ(trace.head_dim, 3U);
  EXPECT_EQ(trace.length, 9U);
  EXPECT_EQ(trace.first, 1U);
  EXPECT_EQ(trace.n, 5U);
  EXPECT_EQ(trace.window, 2U);
  EXPECT_EQ(trace.block, 1U);
  EXPECT_EQ(trace.n_samples, 7U);
  EXPECT_EQ(trace.seed, 0xfedcba9876543210U);
  EXPECT_EQ(trace.ids, expected.ids);
  EXPECT_EQ(trace.received, expected.received);
  EXPECT_EQ(trace.received_sq, expected.received_sq);
  EXPECT_EQ(trace.received_max, expected.received_max);
  EXPECT_EQ(trace.k, expected.k);
  EXPECT_EQ(trace.v, expected.v);
  EXPECT_EQ(trace.token_signals, expected.token_signals);
  EXPECT_EQ(trace.fisher, expected.fisher);
  EXPECT_EQ(trace.future, expected.future);
}

TEST_F(TraceFileTest, TruncationsAreErrors) {
  for (std::size_t size = 0; size < bytes.size(); size += 3) {
    EXPECT_THAT(error(bytes.substr(0, size)), HasSubstr(path)) << size;
  }
  EXPECT_THAT(error(bytes + "x"), HasSubstr("expected " + std::to_string(bytes.size())));
}

TEST_F(TraceFileTest, HeadIsChecked) {
  EXPECT_THAT(error(0, 'M'), HasSubstr("is no trace"));
  EXPECT_THAT(error<std::uint32_t>(kVersionAt, 2), HasSubstr("version: found 2, expected 1"));
  EXPECT_THAT(error<std::uint32_t>(kSourceBytesAt, 0xffffffff), HasSubstr("source: found 4294967295 bytes"));
  EXPECT_THAT(error<std::uint32_t>(kSourceBytesAt, 5), HasSubstr("bytes, expected"));
}

TEST_F(TraceFileTest, SizesAreChecked) {
  const std::vector<std::string> names = {"n_layers", "n_heads", "n_kv_heads", "head_dim", "length",
                                          "first",    "n",       "window",     "block",    "n_samples"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string found = names[i] + ": found ";
    EXPECT_THAT(error<std::uint64_t>(kFieldsAt + 8 * i, ~0ULL), HasSubstr(found));
    EXPECT_THAT(error<std::uint64_t>(kFieldsAt + 8 * i, 1ULL << 40U), HasSubstr(found));
    if (names[i] == "first" || names[i] == "window") continue;
    EXPECT_THAT(error<std::uint64_t>(kFieldsAt + 8 * i, 0), HasSubstr(found));
  }
  EXPECT_THAT(error<std::uint64_t>(kFieldsAt, 3), HasSubstr("bytes, expected"));
  EXPECT_THAT(error<std::uint64_t>(kFieldsAt + 8, 5), HasSubstr("multiple of the 2 KV heads"));
  EXPECT_THAT(error<std::uint64_t>(kFieldsAt + 40, 5), HasSubstr("5 tokens from 5 on, expected at most 9"));
}

TEST_F(TraceFileTest, NumbersThatAreNotFiniteAreErrors) {
  constexpr std::size_t kReceivedAt = kHeadBytes + 6 + 9 * 4;
  EXPECT_THAT(error(kReceivedAt + 12, std::numeric_limits<float>::quiet_NaN()),
              HasSubstr("received[3]: found nan"));
  EXPECT_THAT(error(bytes.size() - 4, std::numeric_limits<float>::infinity()),
              HasSubstr("future[4]: found inf"));
}

}  // namespace
}  // namespace miser::learn
