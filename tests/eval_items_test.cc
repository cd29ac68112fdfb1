#include "eval/items.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <string>

#include "base/error.h"
#include "eval/items_text.h"
#include "eval_items.h"

namespace miser::eval {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

std::string error_of(const Task& task, const std::string& path) {
  try {
    read_items(task, path);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

std::string error_of_text(const char* task, const std::string& text) {
  const TempFile file(text);
  std::string error = error_of(task_named(task), file.path());
  if (error.starts_with(file.path())) error = "FILE" + error.substr(file.path().size());
  return error;
}

// Expected values are what Python 3.11's str methods print.
TEST(ItemsText, StripTakesUnicodeWhiteSpaceAsPythonDoes) {
  EXPECT_EQ(strip(" \t\x1c\xC2\xA0 a b\xE2\x80\x89\xE3\x80\x80\n"), "a b");
  EXPECT_EQ(rstrip(" a \xC2\x85"), " a");
  EXPECT_EQ(strip("\xE2\x80\x8B"
                  "a"),
            "\xE2\x80\x8B"
            "a");  // U+200B is no white space
  EXPECT_EQ(strip(" \n"), "");
}

TEST(ItemsText, CapitalizeLowersTheRest) {
  EXPECT_EQ(capitalize("the boy and Anna"), "The boy and anna");
  EXPECT_EQ(capitalize(""), "");
}

TEST(ItemsText, LengthCountsCodePoints) {
  EXPECT_EQ(length("100 \xC2\xB0"
                   "C"),
            6U);
}

// preprocess() of the harness's hellaswag/utils.py on the same strings.
TEST(ItemsText, HellaswagMarkupGoesAsInTheHarness) {
  EXPECT_EQ(clean_hellaswag("Home: [header] How to [title] Start. [step] Go  on. "),
            "Home: How to. Start. Go on.");
  EXPECT_EQ(clean_hellaswag("a [b [c] d] e"), "a d] e");
  EXPECT_EQ(clean_hellaswag("a [b\nc] d ["), "a [b\nc] d [");
  EXPECT_EQ(clean_hellaswag("a    b"), "a  b");
}

TEST(Items, HubAndFlatFieldsGiveTheSameItem) {
  const TempFile hub(R"({"question":"Q?","choices":{"text":["x","yy"],"label":["1","2"]},"answerKey":"2"})"
                     "\n");
  const TempFile flat("\n{\"question\":\"Q?\",\"choices\":[\"x\",\"yy\"],\"label\":1}\r\n", "flat");
  for (const std::string& path : {hub.path(), flat.path()}) {
    const ItemFile file = read_items(task_named("arc_easy"), path);
    ASSERT_EQ(file.items.size(), 1U);
    const Item& item = file.items[0];
    EXPECT_EQ(item.line, path == hub.path() ? 1U : 2U);
    EXPECT_EQ(item.label, 1U);
    ASSERT_EQ(item.endings.size(), 2U);
    EXPECT_EQ(item.endings[1].context, "Question: Q?\nAnswer:");
    EXPECT_EQ(item.endings[1].continuation, " yy");
    EXPECT_EQ(item.endings[1].characters, 2U);
  }
}

TEST(Items, WinograndeScoresTheRestAfterEachOption) {
  const TempFile file(R"({"sentence":"A _  ran. ","option1":"cat","option2":"dog","answer":"2"})");
  const Item item = read_items(task_named("winogrande"), file.path()).items.at(0);
  EXPECT_EQ(item.label, 1U);
  EXPECT_EQ(item.endings.at(0).context, "A cat");
  EXPECT_EQ(item.endings.at(1).context, "A dog");
  EXPECT_EQ(item.endings.at(0).continuation, " ran.");
}

TEST(Items, LimitSpreadsOverTheFile) {
  std::string text;
  for (int i = 0; i < 10; ++i)
    text += R"({"goal":"g","sol1":"a","sol2":"b","label":0})"
            "\n";
  const TempFile file(text);
  std::vector<std::size_t> lines;
  for (const Item& item : read_items(task_named("piqa"), file.path(), 4).items) lines.push_back(item.line);
  EXPECT_THAT(lines, ElementsAre(1, 3, 6, 8));
}

TEST(Items, BadLinesAreNamedWithFileLineAndReason) {
  const std::string good = R"({"ctx":"c","endings":["a","b","c","d"],"label":0})";
  EXPECT_THAT(error_of_text("hellaswag", good + "\n{\"ctx\": \n"), StartsWith("FILE:2: not JSON: "));
  EXPECT_EQ(error_of_text("hellaswag", good + "\n\xFF\n"), "FILE:2: found byte 0xff, expected UTF-8");
  EXPECT_EQ(error_of_text("hellaswag", "[]"), "FILE:1: found array, expected a JSON object");
  EXPECT_EQ(error_of_text("hellaswag", R"({"ctx":"c","label":0})"), "FILE:1: found no field 'endings'");
  EXPECT_EQ(error_of_text("hellaswag", R"({"ctx":"c","endings":["a","b","c"],"label":3})"),
            "FILE:1: found 3 endings, expected 4");
  EXPECT_EQ(error_of_text("arc_easy", R"({"question":"c","choices":["a"],"label":0})"),
            "FILE:1: found 1 endings, expected 2 to 5");
  EXPECT_EQ(error_of_text("hellaswag", R"({"ctx":1,"endings":["a","b","c","d"],"label":0})"),
            "FILE:1: field 'ctx': found number, expected a string");
  EXPECT_EQ(error_of_text("hellaswag", R"({"ctx":"c","endings":["a","b","c","d"],"label":4})"),
            "FILE:1: field 'label': found 4, expected 0 to 3");
  EXPECT_EQ(error_of_text("hellaswag", R"({"ctx":"c","endings":["a","b","c","d"],"label":""})"),
            "FILE:1: field 'label': found \"\", expected 0 to 3");
  EXPECT_EQ(error_of_text("hellaswag", R"({"ctx":"c","endings":["a"," ","c","d"],"label":0})"),
            "FILE:1: ending 2 of 4 is empty");
  EXPECT_EQ(error_of_text("piqa", R"({"goal":"g","sol1":"a","sol2":"b","label":-1})"),
            "FILE:1: field 'label': found -1, expected 0 to 1");
  EXPECT_EQ(error_of_text("winogrande", R"({"sentence":"A ran.","option1":"a","option2":"b","answer":"1"})"),
            "FILE:1: found no blank '_' in the sentence");
  EXPECT_EQ(error_of_text("winogrande", R"({"sentence":"A _.","option1":"a","option2":"b","answer":"3"})"),
            "FILE:1: field 'answer': found \"3\", expected 1 to 2");
  EXPECT_EQ(
      error_of_text("arc_easy",
                    R"({"question":"c","choices":{"text":["a","b"],"label":["A","B"]},"answerKey":"C"})"),
      "FILE:1: field 'answerKey': found 'C', expected the label of a choice");
}

TEST(Items, UnreadableFilesAreNamed) {
  const Task& task = task_named("piqa");
  EXPECT_EQ(error_of_text("piqa", ""), "FILE: is empty, expected text");
  EXPECT_EQ(error_of_text("piqa", "\n\n"), "FILE: found no items, expected one JSON object a line");
  EXPECT_THAT(error_of(task, "/nonexistent/x"), HasSubstr("/nonexistent/x: cannot be opened: No such file"));
  EXPECT_THAT(error_of(task, testing::TempDir()), HasSubstr("is a folder"));
}

TEST(Items, CompressedFilesAreReadAndDamagedOnesRefused) {
  const TempFile file("", "items.jsonl.gz");
  gzFile out = gzopen(file.path().c_str(), "wb");
  for (int i = 0; i < 1000; ++i)
    gzprintf(out, "{\"goal\":\"g%d\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":1}\n", i * 7919);
  gzclose(out);
  EXPECT_EQ(read_items(task_named("piqa"), file.path()).items.size(), 1000U);
  std::filesystem::resize_file(file.path(), std::filesystem::file_size(file.path()) - 12);
  EXPECT_THAT(error_of(task_named("piqa"), file.path()), HasSubstr("cannot be read"));
}

}  // namespace
}  // namespace miser::eval
