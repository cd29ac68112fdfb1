#include "cli/chat_input.h"

#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>
#include <filesystem>

#include "cli/run_interrupt.h"

namespace miser::cli {
namespace {

constexpr int kHistorySize = 1000;
constexpr wchar_t kControlD = 4;
constexpr wchar_t kReplacement = L'\uFFFD';

// libedit converts characters by the locale; "C" would refuse everything but ASCII.
void use_utf8() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

// Empty when there is no place for it.
std::filesystem::path history_path() {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  std::filesystem::path directory;
  if (state != nullptr && *state != '\0') {
    directory = state;
  } else if (home != nullptr && *home != '\0') {
    directory = std::filesystem::path(home) / ".local" / "state";
  } else {
    return {};
  }
  directory /= "miser";
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  return error ? std::filesystem::path() : directory / "history";
}

// Whether there is something to read before Ctrl-C. Looks at the flag now and then, because the signal may
// come just before the wait or to another thread.
bool wait_for_input() {
  constexpr int kLookMs = 100;
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  while (!Interrupt::flag()) {
    if (poll(&input, 1, kLookMs) > 0) return true;
  }
  return false;
}

// One character. libedit's own reader goes on after a signal, which would swallow Ctrl-C.
int read_character(EditLine*, wchar_t* character) {
  std::mbstate_t state{};
  while (wait_for_input()) {
    char byte = 0;
    const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
    if (n <= 0) return static_cast<int>(n);
    const std::size_t used = std::mbrtowc(character, &byte, 1, &state);
    if (used == static_cast<std::size_t>(-2)) continue;
    if (used == static_cast<std::size_t>(-1)) *character = kReplacement;
    if (used == 0) *character = kControlD;  // typed during an answer, when the terminal was not yet raw
    return 1;
  }
  return -1;
}

char* prompt(EditLine*) {
  static char text[] = "> ";
  return text;
}

std::optional<std::string> without_end(const char* line, std::size_t length) {
  std::string text(line, length);
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::optional<std::string> read_plain() {
  char* line = nullptr;
  std::size_t capacity = 0;
  const ssize_t length = ::getline(&line, &capacity, stdin);
  const std::unique_ptr<char, decltype(&std::free)> owner(line, &std::free);
  if (length < 0) return std::nullopt;
  return without_end(line, static_cast<std::size_t>(length));
}

}  // namespace

class ChatInput::Editor {
 public:
  Editor()
      : history_(history_init()), editor_(el_init("miser", stdin, stderr, stderr)), path_(history_path()) {
    HistEvent event;
    history(history_, &event, H_SETSIZE, kHistorySize);
    history(history_, &event, H_SETUNIQUE, 1);
    if (!path_.empty()) history(history_, &event, H_LOAD, path_.c_str());
    el_set(editor_, EL_PROMPT, &prompt);
    el_set(editor_, EL_EDITOR, "emacs");
    el_set(editor_, EL_HIST, &history, history_);
    el_set(editor_, EL_GETCFN, &read_character);
    el_source(editor_, nullptr);
  }
  ~Editor() {
    el_end(editor_);
    history_end(history_);
  }
  Editor(const Editor&) = delete;
  Editor& operator=(const Editor&) = delete;

  std::optional<std::string> read() {
    int length = 0;
    const char* line = el_gets(editor_, &length);
    if (line == nullptr || length <= 0) {
      std::fputc('\n', stderr);  // the shell's prompt belongs on a line of its own
      return std::nullopt;
    }
    HistEvent event;
    if (length > 1) history(history_, &event, H_ENTER, line);
    if (!path_.empty()) history(history_, &event, H_SAVE, path_.c_str());
    return without_end(line, static_cast<std::size_t>(length));
  }

 private:
  History* history_;
  EditLine* editor_;
  std::filesystem::path path_;
};

ChatInput::ChatInput() {
  use_utf8();
  if (isatty(STDIN_FILENO) != 0 && isatty(STDERR_FILENO) != 0) editor_ = std::make_unique<Editor>();
}

ChatInput::~ChatInput() = default;

std::optional<std::string> ChatInput::read() {
  return editor_ ? editor_->read() : read_plain();
}

}  // namespace miser::cli
