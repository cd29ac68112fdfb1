#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <numeric>

#include "base/output_file.h"
#include "gguf/file.h"
#include "gguf/writer.h"
#include "temporary_folder.h"

namespace miser {
namespace {

using test::error_of;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Folder = test::TemporaryFolder;

TEST(GgufWriter, ReaderFindsWhatWasWritten) {
  const Folder folder;
  gguf::Writer writer;
  writer.add("text", std::string_view("ab"));
  writer.add("flag", true);
  writer.add("number", 0.5F);
  writer.add("big", std::uint64_t{1} << 40U);
  writer.add_strings("names", std::vector<std::string>{"x", "", "yz"});
  writer.add_ints("ids", std::vector<std::int32_t>{3, -1});
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  writer.add_floats("odd", std::vector<std::uint64_t>{3, 1}, std::span(values).first(3));
  writer.add_floats("after", std::vector<std::uint64_t>{2}, std::span(values).last(2));
  writer.write(folder.file("a.gguf"));

  const gguf::File file = gguf::File::open(folder.file("a.gguf"));
  EXPECT_EQ(file.find_string("text"), "ab");
  EXPECT_EQ(file.find_bool("flag"), true);
  EXPECT_EQ(file.find_number("number"), 0.5);
  EXPECT_EQ(file.find_uint("big"), std::uint64_t{1} << 40U);
  EXPECT_THAT(*file.find_strings("names"), ElementsAre("x", "", "yz"));
  EXPECT_THAT(file.find_ints("ids").value(), ElementsAre(3, -1));
  ASSERT_EQ(file.tensors().size(), 2U);
  EXPECT_THAT(file.tensors()[0].shape, ElementsAre(3, 1));
  std::vector<float> read(2);
  file.tensors()[1].format->unpack(file.tensors()[1].data.data(), 2, read.data());
  EXPECT_THAT(read, ElementsAre(5, 6));
  EXPECT_EQ((file.tensors()[1].data.data() - file.tensors()[0].data.data()) % 32, 0);
}

TEST(GgufWriter, TensorLargerThanAChunkArrivesWholeAndInOrder) {
  const Folder folder;
  gguf::Writer writer;
  constexpr std::uint64_t kElements = 3'000'000;
  std::vector<float> values(kElements);
  std::iota(values.begin(), values.end(), 0.0F);
  writer.add_floats("large", std::vector<std::uint64_t>{kElements}, values);
  writer.write(folder.file("a.gguf"));
  writer.write(folder.file("b.gguf"));  // again: a writer is not used up
  for (const char* name : {"a.gguf", "b.gguf"}) {
    const gguf::File file = gguf::File::open(folder.file(name));
    const auto bytes = file.tensors()[0].data;
    EXPECT_TRUE(std::ranges::equal(bytes, std::as_bytes(std::span(values)))) << name;
  }
}

TEST(OutputFile, FullDeviceIsAnErrorAndStaysADevice) {
  const std::string error = error_of([] {
    gguf::Writer writer;
    writer.write("/dev/full");
  });
  EXPECT_THAT(error, HasSubstr("/dev/full: cannot write: No space left on device"));
  struct stat status {};
  ASSERT_EQ(stat("/dev/full", &status), 0);
  EXPECT_TRUE(S_ISCHR(status.st_mode));
}

TEST(OutputFile, FullDiskLeavesTheOldFileAndNothingElse) {
  const Folder folder;
  std::ofstream(folder.file("a")) << "old";
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit{};
  getrlimit(RLIMIT_FSIZE, &old_limit);
  rlimit limit = old_limit;
  limit.rlim_cur = 1000;  // stands for a disk with this much room
  setrlimit(RLIMIT_FSIZE, &limit);
  const std::string error = error_of([&] {
    OutputFile file(folder.file("a"));
    file.write(std::vector<std::byte>(2000));
    file.commit();
  });
  setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_THAT(error, HasSubstr("/a: cannot write: File too large"));
  EXPECT_THAT(folder.names(), ElementsAre("a"));
  std::string content;
  std::ifstream(folder.file("a")) >> content;
  EXPECT_EQ(content, "old");
}

TEST(OutputFile, WithoutCommitNothingAppears) {
  const Folder folder;
  OutputFile(folder.file("a")).write(std::vector<std::byte>(10));
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST(OutputFile, MissingFolderIsNamed) {
  const std::string error = error_of([] { OutputFile file("/nowhere/at/all"); });
  EXPECT_EQ(error, "/nowhere/at/all: cannot create: No such file or directory");
}

}  // namespace
}  // namespace miser
