#include "session/text_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace miser {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Shown {
  std::vector<std::string> parts;
  TextStream stream;

  explicit Shown(std::vector<std::string> stop)
      : stream(std::move(stop), [this](std::string_view text) { parts.emplace_back(text); }) {}
};

TEST(TextStream, ShowsPiecesAtOnce) {
  Shown shown({});
  EXPECT_FALSE(shown.stream.add("Hello"));
  EXPECT_FALSE(shown.stream.add(""));
  EXPECT_FALSE(shown.stream.add(" world"));
  EXPECT_THAT(shown.parts, ElementsAre("Hello", " world"));
}

TEST(TextStream, HoldsBackPartsOfACharacter) {
  Shown shown({});
  shown.stream.add("a\xE2");
  shown.stream.add("\x82");
  EXPECT_THAT(shown.parts, ElementsAre("a"));
  shown.stream.add("\xAC!");
  EXPECT_THAT(shown.parts, ElementsAre("a", "\xE2\x82\xAC!"));
}

TEST(TextStream, ShowsAnUnfinishedCharacterAtTheEndAsItIs) {
  Shown shown({});
  shown.stream.add("a\xF0\x9F");
  shown.stream.finish();
  EXPECT_THAT(shown.parts, ElementsAre("a", "\xF0\x9F"));
  EXPECT_EQ(shown.stream.text(), "a\xF0\x9F");
}

TEST(TextStream, ShowsBytesThatCanNeverBecomeACharacter) {
  Shown shown({});
  shown.stream.add("\xFF\x80x");
  EXPECT_THAT(shown.parts, ElementsAre("\xFF\x80x"));
}

TEST(TextStream, EndsAtAStopStringWithinAPiece) {
  Shown shown({"END"});
  EXPECT_TRUE(shown.stream.add("one END two"));
  shown.stream.finish();
  EXPECT_THAT(shown.parts, ElementsAre("one "));
  EXPECT_EQ(shown.stream.text(), "one ");
}

TEST(TextStream, EndsAtAStopStringSplitOverPieces) {
  Shown shown({"\nUser:"});
  EXPECT_FALSE(shown.stream.add("yes.\n"));
  EXPECT_FALSE(shown.stream.add("Us"));
  EXPECT_TRUE(shown.stream.add("er: and"));
  shown.stream.finish();
  EXPECT_THAT(shown.parts, ElementsAre("yes."));
}

TEST(TextStream, ShowsHeldBackTextOnceItCannotBecomeAStopString) {
  Shown shown({"\nUser:"});
  shown.stream.add("a\nUs");
  EXPECT_THAT(shown.parts, ElementsAre("a"));
  shown.stream.add("ually");
  EXPECT_THAT(shown.parts, ElementsAre("a", "\nUsually"));
}

TEST(TextStream, FindsAStopStringThatBeginsInsideAFailedOne) {
  Shown shown({"aab"});
  EXPECT_FALSE(shown.stream.add("a"));
  EXPECT_FALSE(shown.stream.add("a"));
  EXPECT_FALSE(shown.stream.add("a"));
  EXPECT_TRUE(shown.stream.add("b"));
  EXPECT_EQ(shown.stream.text(), "a");
}

TEST(TextStream, EndsAtTheEarliestOfSeveralStopStrings) {
  Shown shown({"three", "two"});
  EXPECT_TRUE(shown.stream.add("one two three"));
  EXPECT_EQ(shown.stream.text(), "one ");
}

TEST(TextStream, ShowsAnUnfinishedStopStringAtTheEnd) {
  Shown shown({"END"});
  shown.stream.add("the EN");
  EXPECT_THAT(shown.parts, ElementsAre("the "));
  shown.stream.finish();
  EXPECT_THAT(shown.parts, ElementsAre("the ", "EN"));
}

TEST(TextStream, FindsAStopStringThatSplitsCharactersOverPieces) {
  Shown shown({"\xE2\x82\xAC"});
  EXPECT_FALSE(shown.stream.add("5 \xE2\x82"));
  EXPECT_TRUE(shown.stream.add("\xAC"));
  EXPECT_EQ(shown.stream.text(), "5 ");
}

TEST(TextStream, IgnoresAnEmptyStopString) {
  Shown shown({""});
  EXPECT_FALSE(shown.stream.add("x"));
  shown.stream.finish();
  EXPECT_THAT(shown.parts, ElementsAre("x"));
  EXPECT_THAT(Shown({""}).parts, IsEmpty());
}

}  // namespace
}  // namespace miser
