#include "session/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "real_model.h"

namespace miser {
namespace {

using testing::Contains;
using testing::HasSubstr;

const std::vector<ChatMessage> kChat = {
    {"system", "Be brief."}, {"user", " Hi "}, {"assistant", "Hello."}, {"user", "Bye"}};

std::string render(const char* name) {
  return ChatTemplate::named(name).format(kChat, true);
}

// What Jinja makes of the template in SmolLM2's file.
TEST(ChatTemplateTest, Chatml) {
  EXPECT_EQ(
      render("chatml"),
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n"
      "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n");
}

// What Jinja makes of the templates of Llama 3, TinyLlama and, without a system message, Gemma and Phi 3.
TEST(ChatTemplateTest, Llama3TrimsContents) {
  EXPECT_EQ(render("llama-3"),
            "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST(ChatTemplateTest, Zephyr) {
  EXPECT_EQ(render("zephyr"),
            "<|system|>\nBe brief.</s>\n<|user|>\n Hi </s>\n<|assistant|>\nHello.</s>\n<|user|>\nBye</s>\n"
            "<|assistant|>\n");
}

TEST(ChatTemplateTest, GemmaPutsTheSystemMessageBeforeTheUsers) {
  const std::string turns =
      "Hi<end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n"
      "<start_of_turn>model\n";
  const std::span<const ChatMessage> all = kChat;
  EXPECT_EQ(ChatTemplate::named("gemma").format(all.subspan(1), true), "<start_of_turn>user\n" + turns);
  EXPECT_EQ(render("gemma"), "<start_of_turn>user\nBe brief.\n\n" + turns);
}

TEST(ChatTemplateTest, Phi3) {
  const std::span<const ChatMessage> all = kChat;
  EXPECT_EQ(ChatTemplate::named("phi-3").format(all.subspan(1), true),
            "<|user|>\n Hi <|end|>\n<|assistant|>\nHello.<|end|>\n<|user|>\nBye<|end|>\n<|assistant|>\n");
}

// Spaces as llama.cpp has them: Meta's template writes " Hello. </s>" and strips what the user said.
TEST(ChatTemplateTest, Llama2) {
  EXPECT_EQ(render("llama-2"),
            "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hi  [/INST]Hello.</s>[INST] Bye [/INST]");
}

TEST(ChatTemplateTest, Llama2VariantsFollowTheTemplate) {
  auto format = [](const char* jinja) { return ChatTemplate::detect(jinja).format(kChat, true); };
  EXPECT_EQ(format("'[INST] ' + message['content']"),
            "[INST] Be brief.\n Hi  [/INST]Hello.</s>[INST] Bye [/INST]");
  EXPECT_EQ(format("bos_token + '[INST] ' + content"),
            "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hi  [/INST]Hello.</s><s>[INST] Bye [/INST]");
  EXPECT_EQ(format("bos_token + '[INST] ' + content.strip()"),
            "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]Hello.</s>[INST] Bye [/INST]");
}

TEST(ChatTemplateTest, IsRecognisedByWhatTheTemplateContains) {
  auto name = [](const char* jinja) { return ChatTemplate::detect(jinja).name(); };
  EXPECT_EQ(name("{{'<|im_start|>' + message['role']}}"), "chatml");
  EXPECT_EQ(name("{{'[INST] <<SYS>>'}}"), "llama-2");
  EXPECT_EQ(name("{{'<|start_header_id|>' + role + '<|end_header_id|>'}}"), "llama-3");
  EXPECT_EQ(name("{{'<|user|>\n' + content + eos_token}}{{'<|assistant|>'}}"), "zephyr");
  EXPECT_EQ(name("{{'<start_of_turn>' + role}}"), "gemma");
  EXPECT_EQ(name("{{'<|user|>'}}{{'<|end|>'}}{{'<|assistant|>'}}"), "phi-3");
}

TEST(ChatTemplateTest, ZephyrEndsMessagesWithEos) {
  auto format = [](const ChatTemplate& t) {
    return t.format(std::vector<ChatMessage>{{"user", "Hi"}}, false);
  };
  EXPECT_EQ(format(ChatTemplate::detect("'<|user|>' + content + '<|endoftext|>'")),
            "<|user|>\nHi<|endoftext|>\n");
  EXPECT_EQ(format(ChatTemplate::detect("'<|user|>' + content + eos_token", "<eos>")), "<|user|>\nHi<eos>\n");
}

TEST(ChatTemplateTest, SmolLM2IsChatmlWithoutItsDefaultSystemMessage) {
  const auto file = gguf::File::open(test::smollm2_path());
  const ChatTemplate found = ChatTemplate::detect(*file.find_string("tokenizer.chat_template"));
  EXPECT_EQ(found.name(), "chatml");
  EXPECT_EQ(found.format(std::vector<ChatMessage>{{"user", "Hi"}}, false),
            "<|im_start|>user\nHi<|im_end|>\n");
  EXPECT_THAT(found.stop_strings(), Contains("<|im_end|>"));
}

TEST(ChatTemplateTest, FirstMessagesBeginWhatMoreMessagesGive) {
  const std::span<const ChatMessage> all = kChat;
  for (const char* name : {"chatml", "llama-2", "llama-3", "zephyr", "gemma", "phi-3"}) {
    const ChatTemplate chat = ChatTemplate::named(name);
    for (std::size_t n = 0; n < all.size(); ++n) {
      const std::string more = chat.format(all.first(n + 1), false);
      EXPECT_TRUE(more.starts_with(chat.format(all.first(n), false))) << name << ", " << n << " messages";
    }
    EXPECT_TRUE(chat.format(all.first(3), false).starts_with(chat.format(all.first(2), true))) << name;
  }
}

TEST(ChatTemplateTest, UnknownIsAnErrorThatListsTheNames) {
  auto error = [](auto make) -> std::string {
    try {
      make();
    } catch (const Error& e) {
      return e.what();
    }
    return "accepted";
  };
  const std::string names = "expected one of chatml, llama-2, llama-3, zephyr, gemma, phi-3";
  EXPECT_THAT(error([] { ChatTemplate::named("vicuna"); }), HasSubstr(names));
  EXPECT_THAT(error([] { ChatTemplate::detect("{{'USER: '}}"); }), HasSubstr(names));
  EXPECT_THAT(error([] { ChatTemplate::detect("{{'[SYSTEM_PROMPT]'}}{{'[INST]'}}"); }), HasSubstr(names));
}

}  // namespace
}  // namespace miser
