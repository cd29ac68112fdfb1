#pragma once
#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace miser {

/// Part of a text: a token that the text names, or text between such tokens.
struct Fragment {
  std::optional<Token> token;
  std::string_view text;
};

/// Finds the names of special and user-defined tokens in text. Longer names go first, wherever they stand, as
/// in llama.cpp. Keeps a reference to the vocabulary.
class SpecialTokens {
 public:
  explicit SpecialTokens(const Vocabulary& vocabulary);

  /// Cuts `text`, which must outlive the result. Names of control and unknown tokens count only with
  /// `parse_special`, those of user-defined tokens always. No fragment is empty text.
  std::vector<Fragment> cut(std::string_view text, bool parse_special) const;

 private:
  const Vocabulary& vocabulary_;
  std::vector<Token> by_length_;  ///< longest name first
};

}  // namespace miser
