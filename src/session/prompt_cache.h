#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "session/session.h"

namespace miser {

/// Keeps what a session has read of a prompt in a file, so that the next one need not read it again: the
/// --prompt-cache of llama.cpp.
class PromptCache {
 public:
  /// Loads the file into the session, which outlives it, if there is one. Throws Error like Session::load().
  PromptCache(Session& session, std::string path);

  /// Forgets all that the session holds behind its longest common beginning with `prompt`, and returns what
  /// is left to read. That is nothing where logits() are those after the prompt.
  std::span<const std::int32_t> begin(std::span<const std::int32_t> prompt);
  /// After the last token of the session; perhaps empty.
  std::span<const float> logits() const { return logits_; }
  /// Tokens of the prompt that need not be read.
  std::size_t n_reused() const { return n_reused_; }

  /// Writes the session to the file, unless that holds the whole prompt already. Throws like Session::save().
  void save_prompt(std::span<const float> logits) const;
  /// Writes it in any case.
  void save(std::span<const float> logits) const { session_.save(path_, logits); }

 private:
  Session& session_;
  std::string path_;
  std::vector<float> logits_;
  std::size_t n_reused_ = 0;
  bool complete_ = false;  ///< the file holds the whole prompt
};

}  // namespace miser
