#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace miser {

/// A `tokenizer.ggml.pre` and its regular expressions (PCRE2 syntax), applied one after the other.
struct PreTokenizerPatterns {
  std::string_view name;
  std::vector<std::string> patterns;
};

const std::vector<PreTokenizerPatterns>& pre_tokenizer_patterns();

}  // namespace miser
