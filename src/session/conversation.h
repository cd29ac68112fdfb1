#pragma once
#include <string>
#include <vector>

#include "session/chat_template.h"

namespace miser {

/// The messages of a chat as text for a model whose cache keeps everything that was read and generated so
/// far.
class Conversation {
 public:
  /// `system` may be empty: no system message.
  Conversation(ChatTemplate chat_template, const std::string& system);

  /// What the model must read to answer `message`: at first the whole template up to the answer, later only
  /// what stands after the text of the last answer.
  std::string next(const std::string& message) const;
  /// Keeps a message that was answered.
  void add(const std::string& message, const std::string& answer);
  bool started() const { return started_; }

 private:
  ChatTemplate template_;
  std::vector<ChatMessage> messages_;
  bool started_ = false;
};

}  // namespace miser
