#include "session/conversation.h"

#include <gtest/gtest.h>

namespace miser {
namespace {

ChatTemplate chatml() {
  return ChatTemplate::detect("<|im_start|>");
}

TEST(Conversation, BeginsWithTheWholeTemplate) {
  EXPECT_EQ(Conversation(chatml(), "").next("Hi"), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(
      Conversation(chatml(), "Be brief.").next("Hi"),
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Conversation, GoesOnAfterTheAnswer) {
  Conversation conversation(chatml(), "Be brief.");
  conversation.add("Hi", "Hello.");
  EXPECT_EQ(conversation.next("Bye"), "<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n");
  conversation.add("Bye", "");
  EXPECT_EQ(conversation.next("?"), "<|im_end|>\n<|im_start|>user\n?<|im_end|>\n<|im_start|>assistant\n");
}

// Gemma's template trims messages, so its text of an answer is not what the cache holds.
TEST(Conversation, GoesOnAfterAnAnswerThatTheTemplateWouldTrim) {
  Conversation conversation(ChatTemplate::detect("<start_of_turn>"), "");
  conversation.add("Hi", " Hello. \n");
  EXPECT_EQ(conversation.next("Bye"),
            "<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n");
}

}  // namespace
}  // namespace miser
