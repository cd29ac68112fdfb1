#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/utf8.h"

namespace miser {
namespace {

TEST(Utf8, PrefixStopsBeforeAnUnfinishedCharacter) {
  EXPECT_EQ(complete_utf8_prefix(""), 0u);
  EXPECT_EQ(complete_utf8_prefix("abc"), 3u);
  EXPECT_EQ(complete_utf8_prefix("a\xC3"), 1u);
  EXPECT_EQ(complete_utf8_prefix("a\xC3\xA9"), 3u);
  EXPECT_EQ(complete_utf8_prefix("\xF0\x9F\xA6"), 0u);
  EXPECT_EQ(complete_utf8_prefix("x\xF0\x9F"), 1u);
  EXPECT_EQ(complete_utf8_prefix("\xF0\x9F\xA6\x99"), 4u);
}

TEST(Utf8, BytesThatNeverFormACharacterCountAsComplete) {
  EXPECT_EQ(complete_utf8_prefix("\x80"), 1u);
  EXPECT_EQ(complete_utf8_prefix("a\xFF"), 2u);
  EXPECT_EQ(complete_utf8_prefix("\xE0\x80"), 2u);  // overlong
  EXPECT_EQ(complete_utf8_prefix("\xED\xA0"), 2u);  // surrogate
}

TEST(Utf8, InvalidBytesBecomeReplacementCharacters) {
  EXPECT_EQ(replace_invalid_utf8("ok \xC3\xA9"), "ok \xC3\xA9");
  EXPECT_EQ(replace_invalid_utf8("a\xFF"), "a\xEF\xBF\xBD");
  EXPECT_EQ(replace_invalid_utf8("\xC3"), "\xEF\xBF\xBD");
  EXPECT_EQ(replace_invalid_utf8("\xE2\x82z"), "\xEF\xBF\xBDz");
}

TEST(MappedFile, NamesThePathAndReasonWhenItCannotOpen) {
  try {
    const MappedFile file("/nonexistent/model.gguf");
    FAIL() << "expected Error";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "/nonexistent/model.gguf: cannot open: No such file or directory");
  }
}

TEST(MappedFile, RejectsADirectory) {
  EXPECT_THROW(MappedFile("/tmp"), Error);
}

TEST(MappedFile, MapsAnEmptyFileToAnEmptySpan) {
  const auto path = std::filesystem::temp_directory_path() / "miser_empty_file";
  std::ofstream(path).close();
  EXPECT_TRUE(MappedFile(path.string()).bytes().empty());
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace miser
