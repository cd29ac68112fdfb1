#include "session/text_stream.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace miser {

TextStream::TextStream(std::vector<std::string> stop, Sink sink)
    : stop_(std::move(stop)), sink_(std::move(sink)) {
  std::erase(stop_, std::string());
}

bool TextStream::add(std::string_view piece) {
  text_ += piece;
  const std::size_t stop = find_stop();
  if (stop != std::string::npos) {
    text_.resize(stop);
    return true;
  }
  const std::size_t end = text_.size() - may_become_stop();
  const std::string_view pending = std::string_view(text_).substr(shown_, end - shown_);
  show(shown_ + complete_utf8_prefix(pending));
  return false;
}

void TextStream::finish() {
  show(text_.size());
}

// Where the earliest stop string begins. It cannot begin in what is shown already: that was held back.
std::size_t TextStream::find_stop() const {
  std::size_t first = std::string::npos;
  for (const std::string& stop : stop_) first = std::min(first, text_.find(stop, shown_));
  return first;
}

// Length of the longest end of the text, not shown yet, that begins a stop string.
std::size_t TextStream::may_become_stop() const {
  const std::string_view pending = std::string_view(text_).substr(shown_);
  std::size_t longest = 0;
  for (const std::string& stop : stop_) {
    for (std::size_t n = std::min(stop.size() - 1, pending.size()); n > longest; --n) {
      if (pending.substr(pending.size() - n) == std::string_view(stop).substr(0, n)) longest = n;
    }
  }
  return longest;
}

void TextStream::show(std::size_t end) {
  if (end > shown_) sink_(std::string_view(text_).substr(shown_, end - shown_));
  shown_ = end;
}

}  // namespace miser
