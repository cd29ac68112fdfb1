#include "session/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace miser {

struct ChatTemplate::Known {
  Kind kind;
  std::string_view name;
};

namespace {

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

}  // namespace

std::span<const ChatTemplate::Known> ChatTemplate::known() {
  static constexpr Known kKnown[] = {{Kind::kChatml, "chatml"},  {Kind::kLlama2, "llama-2"},
                                     {Kind::kLlama3, "llama-3"}, {Kind::kZephyr, "zephyr"},
                                     {Kind::kGemma, "gemma"},    {Kind::kPhi3, "phi-3"}};
  return kKnown;
}

std::string ChatTemplate::names() {
  std::vector<std::string_view> names;
  for (const Known& entry : known()) names.push_back(entry.name);
  return fmt::to_string(fmt::join(names, ", "));
}

ChatTemplate ChatTemplate::of(Kind kind) {
  const auto entry =
      std::find_if(known().begin(), known().end(), [&](const Known& k) { return k.kind == kind; });
  return {kind, entry->name};
}

ChatTemplate ChatTemplate::named(std::string_view name) {
  for (const Known& entry : known()) {
    if (entry.name == name) return {entry.kind, entry.name};
  }
  fail("chat template: found \"{}\", expected one of {}", name, names());
}

// llama.cpp's order: some templates contain the marks of others too.
ChatTemplate ChatTemplate::detect(std::string_view jinja, std::string_view eos) {
  auto has = [&](std::string_view mark) { return jinja.find(mark) != std::string_view::npos; };
  if (has("<|im_start|>") && !has("<|im_sep|>") && !has("<end_of_utterance>")) return of(Kind::kChatml);
  // Mistral's templates have [INST] too, with other spaces.
  const bool mistral =
      has("[SYSTEM_PROMPT]") || has("[AVAILABLE_TOOLS]") || has("' [INST] ' + system_message");
  if (has("[INST]") && !mistral) {
    ChatTemplate llama2 = of(Kind::kLlama2);
    llama2.trims_ = has("content.strip()");
    llama2.repeats_bos_ = !llama2.trims_ && has("bos_token + '[INST]");
    llama2.marks_system_ = llama2.trims_ || llama2.repeats_bos_ || has("<<SYS>>");
    return llama2;
  }
  if (has("<|assistant|>") && has("<|end|>")) return of(Kind::kPhi3);
  if (has("<|user|>") && !has("[gMASK]") && (has("<|endoftext|>") || has("eos_token") || has("</s>"))) {
    ChatTemplate zephyr = of(Kind::kZephyr);
    zephyr.end_ = has("<|endoftext|>") ? "<|endoftext|>" : has("</s>") ? "</s>" : eos;
    return zephyr;
  }
  if (has("<start_of_turn>")) return of(Kind::kGemma);
  if (has("<|start_header_id|>") && has("<|end_header_id|>")) return of(Kind::kLlama3);
  fail("tokenizer.chat_template: found a template that is not known, expected one of {}", names());
}

std::string ChatTemplate::format(std::span<const ChatMessage> messages, bool add_generation_prompt) const {
  if (kind_ == Kind::kLlama2) return format_llama2(messages);
  if (kind_ == Kind::kGemma) return format_gemma(messages, add_generation_prompt);
  return format_turns(messages, add_generation_prompt);
}

// Templates that write every message alike.
std::string ChatTemplate::format_turns(std::span<const ChatMessage> messages,
                                       bool add_generation_prompt) const {
  auto header = [&](std::string_view role) {
    if (kind_ == Kind::kChatml) return fmt::format("<|im_start|>{}\n", role);
    if (kind_ == Kind::kLlama3) return fmt::format("<|start_header_id|>{}<|end_header_id|>\n\n", role);
    return fmt::format("<|{}|>\n", role);
  };
  auto end = [&]() -> std::string {
    if (kind_ == Kind::kChatml) return "<|im_end|>\n";
    if (kind_ == Kind::kLlama3) return "<|eot_id|>";
    return kind_ == Kind::kPhi3 ? "<|end|>\n" : end_ + "\n";
  };
  std::string text;
  for (const ChatMessage& message : messages) {
    text += header(message.role);
    text += kind_ == Kind::kLlama3 ? trim(message.content) : message.content;
    text += end();
  }
  if (add_generation_prompt) text += header("assistant");
  return text;
}

// The answer begins after [/INST]; there is nothing to add for it.
std::string ChatTemplate::format_llama2(std::span<const ChatMessage> messages) const {
  std::string text;
  bool inside_turn = false;
  for (const ChatMessage& message : messages) {
    const std::string_view content = trims_ ? trim(message.content) : message.content;
    if (!inside_turn) text += repeats_bos_ && !text.empty() ? "<s>[INST] " : "[INST] ";
    inside_turn = true;
    if (message.role == "system") {
      text +=
          marks_system_ ? fmt::format("<<SYS>>\n{}\n<</SYS>>\n\n", content) : fmt::format("{}\n", content);
    } else if (message.role == "user") {
      text += fmt::format("{} [/INST]", content);
    } else {
      text += fmt::format("{}</s>", content);
      inside_turn = false;
    }
  }
  return text;
}

// Gemma knows no system role: such a message stands before the next one of the user.
std::string ChatTemplate::format_gemma(std::span<const ChatMessage> messages, bool add_generation_prompt) {
  std::string text;
  std::string system;
  for (const ChatMessage& message : messages) {
    if (message.role == "system") {
      system += trim(message.content);
      continue;
    }
    const bool answer = message.role == "assistant";
    text += fmt::format("<start_of_turn>{}\n", answer ? "model" : message.role);
    if (!answer && !system.empty()) text += std::exchange(system, {}) + "\n\n";
    text += fmt::format("{}<end_of_turn>\n", trim(message.content));
  }
  if (add_generation_prompt) text += "<start_of_turn>model\n";
  return text;
}

std::vector<std::string> ChatTemplate::stop_strings() const {
  switch (kind_) {
    case Kind::kChatml:
      return {"<|im_end|>", "<|im_start|>"};
    case Kind::kLlama2:
      return {"</s>", "[INST]"};
    case Kind::kLlama3:
      return {"<|eot_id|>", "<|start_header_id|>"};
    case Kind::kZephyr:
      return {end_, "<|user|>"};
    case Kind::kGemma:
      return {"<end_of_turn>", "<start_of_turn>"};
    case Kind::kPhi3:
      return {"<|end|>", "<|user|>"};
  }
  return {};
}

}  // namespace miser
