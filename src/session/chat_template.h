#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace miser {

struct ChatMessage {
  std::string role;  ///< "system", "user" or "assistant"
  std::string content;
};

/// How a model wants a chat written. Templates are Jinja programs; like llama.cpp this recognises the known
/// ones by strings that occur in them and writes what llama.cpp's `llama_chat_apply_template` writes. So a
/// default system message that a template brings along (SmolLM2's does) is left out.
class ChatTemplate {
 public:
  /// From `tokenizer.chat_template`. `eos` is the text of the model's EOS token, with which zephyr templates
  /// end a message. Throws Error that lists the known names.
  static ChatTemplate detect(std::string_view jinja, std::string_view eos = "</s>");
  /// One of names(). Throws Error that lists them.
  static ChatTemplate named(std::string_view name);
  /// "chatml, llama-2, ..." for messages.
  static std::string names();

  const std::string& name() const { return name_; }
  /// The messages as text, with `add_generation_prompt` up to where the answer begins. What the first
  /// messages give begins what more messages give, so that a cache can be kept. BOS is not part of it.
  std::string format(std::span<const ChatMessage> messages, bool add_generation_prompt) const;
  /// What a model may write when its answer should have ended.
  std::vector<std::string> stop_strings() const;

 private:
  enum class Kind : std::uint8_t { kChatml, kLlama2, kLlama3, kZephyr, kGemma, kPhi3 };
  struct Known;

  ChatTemplate(Kind kind, std::string_view name) : kind_(kind), name_(name) {}
  static std::span<const Known> known();
  static ChatTemplate of(Kind kind);

  std::string format_turns(std::span<const ChatMessage> messages, bool add_generation_prompt) const;
  std::string format_llama2(std::span<const ChatMessage> messages) const;
  static std::string format_gemma(std::span<const ChatMessage> messages, bool add_generation_prompt);

  Kind kind_;
  std::string name_;
  std::string end_ = "</s>";  ///< zephyr: ends a message
  bool marks_system_ = true;  ///< llama-2: has <<SYS>>
  bool repeats_bos_ = false;  ///< llama-2: BOS before every turn
  bool trims_ = false;        ///< llama-2: contents are stripped
};

}  // namespace miser
