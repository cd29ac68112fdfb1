#include "session/prompt_cache.h"

#include <algorithm>
#include <filesystem>
#include <utility>

namespace miser {

PromptCache::PromptCache(Session& session, std::string path) : session_(session), path_(std::move(path)) {
  if (std::filesystem::exists(path_)) logits_ = session_.load(path_);
}

std::span<const std::int32_t> PromptCache::begin(std::span<const std::int32_t> prompt) {
  const auto& held = session_.tokens();
  const auto differ = std::ranges::mismatch(held, prompt);
  n_reused_ = static_cast<std::size_t>(differ.in2 - prompt.begin());
  complete_ = !prompt.empty() && n_reused_ == prompt.size();
  if (n_reused_ < held.size()) {
    logits_.clear();
    if (session_.cache().n_dropped() > 0) {  // for the sake of tokens that this prompt has not
      n_reused_ = 0;
      complete_ = false;
    }
  }
  // Logits come with a token that is read.
  if (complete_ && logits_.empty()) --n_reused_;
  session_.truncate(n_reused_);
  return prompt.subspan(n_reused_);
}

void PromptCache::save_prompt(std::span<const float> logits) const {
  if (!complete_) save(logits);
}

}  // namespace miser
