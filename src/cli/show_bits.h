#pragma once
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "session/session.h"
#include "tokenizer/tokenizer.h"

namespace miser::cli {

/// Colours text by the mean bits of each token's K and V. A token's bits are known when its block leaves the
/// staged window, so text waits until then; what is still staged at the end, sinks and 16-bit tokens stay
/// plain.
class BitsPainter {
 public:
  /// `session` records (SessionOptions::record) and outlives the painter, as does `tokenizer`. `out` gets
  /// text with ANSI escapes, never within a character.
  BitsPainter(const Session& session, const Tokenizer& tokenizer, std::function<void(std::string_view)> out);

  /// What add() gets from here on are the pieces of the tokens from `position` on; those before `n_special`
  /// show control tokens as their text.
  void begin(std::size_t position, std::size_t n_special);
  void add(std::string_view text);
  /// Prints what is left.
  void end();

  /// One line that names the colours, itself coloured if asked.
  static std::string legend(bool coloured);

 private:
  void paint();
  std::string piece(std::size_t position) const;

  const Session& session_;
  const Tokenizer& tokenizer_;
  std::function<void(std::string_view)> out_;
  std::size_t next_ = 0;  ///< position of the token that text_ begins with
  std::size_t n_special_ = 0;
  std::string text_;  ///< not printed yet
};

}  // namespace miser::cli
