#include "session/conversation.h"

#include <string_view>
#include <utility>

namespace miser {

namespace {

// Stands for the last answer, whose end we look for: templates may trim what was really generated.
constexpr std::string_view kAnswer = "\x01last answer\x01";

}  // namespace

Conversation::Conversation(ChatTemplate chat_template, const std::string& system)
    : template_(std::move(chat_template)) {
  if (!system.empty()) messages_.push_back({"system", system});
}

std::string Conversation::next(const std::string& message) const {
  std::vector<ChatMessage> messages = messages_;
  if (started_) messages.back().content = kAnswer;
  messages.push_back({"user", message});
  std::string text = template_.format(messages, true);
  if (started_) text.erase(0, text.find(kAnswer) + kAnswer.size());
  return text;
}

void Conversation::add(const std::string& message, const std::string& answer) {
  messages_.push_back({"user", message});
  messages_.push_back({"assistant", answer});
  started_ = true;
}

}  // namespace miser
