#include "tokenizer/encoder.h"

namespace miser {

void WordCache::append(std::string_view word, std::vector<Token>& out) {
  constexpr std::size_t kMaxWordBytes = 64;    // long words seldom come again
  constexpr std::size_t kMaxWords = 1U << 16;  // a few MB
  if (const auto found = known_.find(word); found != known_.end()) {
    out.insert(out.end(), found->second.begin(), found->second.end());
    return;
  }
  const std::size_t begin = out.size();
  compute_(word, out);
  if (word.size() > kMaxWordBytes || known_.size() >= kMaxWords) return;
  known_.emplace(word, std::vector<Token>(out.begin() + static_cast<std::ptrdiff_t>(begin), out.end()));
}

}  // namespace miser
