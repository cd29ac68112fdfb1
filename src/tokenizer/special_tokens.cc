#include "tokenizer/special_tokens.h"

#include <algorithm>

namespace miser {
namespace {

/// Replaces text that has `name` in it by its parts.
std::vector<Fragment> cut_at(const std::vector<Fragment>& fragments, Token token, std::string_view name) {
  std::vector<Fragment> out;
  out.reserve(fragments.size() + 2);
  for (const Fragment& fragment : fragments) {
    std::string_view rest = fragment.text;
    while (!fragment.token) {
      const std::size_t at = rest.find(name);
      if (at == std::string_view::npos) break;
      if (at > 0) out.push_back({std::nullopt, rest.substr(0, at)});
      out.push_back({token, {}});
      rest.remove_prefix(at + name.size());
    }
    if (fragment.token || !rest.empty()) out.push_back({fragment.token, rest});
  }
  return out;
}

}  // namespace

SpecialTokens::SpecialTokens(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {
  for (Token token = 0; token < vocabulary.size(); ++token) {
    const bool named = vocabulary.is_special(token) || vocabulary.type(token) == TokenType::kUserDefined;
    if (named && !vocabulary.text(token).empty()) by_length_.push_back(token);
  }
  std::stable_sort(by_length_.begin(), by_length_.end(),
                   [&](Token a, Token b) { return vocabulary.text(a).size() > vocabulary.text(b).size(); });
}

std::vector<Fragment> SpecialTokens::cut(std::string_view text, bool parse_special) const {
  std::vector<Fragment> fragments;
  if (!text.empty()) fragments.push_back({std::nullopt, text});
  for (const Token token : by_length_) {
    if (!parse_special && vocabulary_.is_special(token)) continue;
    const std::string_view name = vocabulary_.text(token);
    if (text.find(name) != std::string_view::npos) fragments = cut_at(fragments, token, name);
  }
  return fragments;
}

}  // namespace miser
