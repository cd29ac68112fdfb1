#pragma once
#include <memory>
#include <optional>
#include <string>

namespace miser::cli {

/// Lines that the user writes. On a terminal an editor (libedit) with a prompt and a history that is kept in
/// $XDG_STATE_HOME/miser/history, or else ~/.local/state/miser/history; its output goes to standard error.
class ChatInput {
 public:
  ChatInput();
  ~ChatInput();
  ChatInput(const ChatInput&) = delete;
  ChatInput& operator=(const ChatInput&) = delete;

  /// The next line without its end; nullopt at the end of the input or when Ctrl-C was pressed.
  std::optional<std::string> read();

 private:
  class Editor;
  std::unique_ptr<Editor> editor_;  ///< null when input or output is no terminal
};

}  // namespace miser::cli
