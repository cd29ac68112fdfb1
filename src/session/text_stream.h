#pragma once
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace miser {

/// Turns the pieces of tokens into text that may be shown. What could still become a stop string or is a part
/// of a UTF-8 character is held back until the next pieces decide.
class TextStream {
 public:
  using Sink = std::function<void(std::string_view)>;

  /// `stop`: strings that end the text; empty ones are ignored. `sink` gets every shown byte once, in order.
  TextStream(std::vector<std::string> stop, Sink sink);

  /// Returns whether the text now ends at a stop string, which is not part of it. REQUIRES: that not yet
  /// happened.
  bool add(std::string_view piece);
  /// Shows what was held back; a character that was never completed comes out as the bytes it has.
  void finish();
  /// Everything so far, held back or not.
  const std::string& text() const { return text_; }

 private:
  std::size_t find_stop() const;
  std::size_t may_become_stop() const;
  void show(std::size_t end);

  std::vector<std::string> stop_;
  Sink sink_;
  std::string text_;
  std::size_t shown_ = 0;  ///< bytes of text_ that the sink has
};

}  // namespace miser
