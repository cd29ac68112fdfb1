#pragma once
#include <atomic>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "session/sampler.h"
#include "session/session.h"
#include "tokenizer/tokenizer.h"

namespace miser {

struct GenerateOptions {
  long max_tokens = -1;                          ///< -1: until the context or the memory is full
  bool ignore_eos = false;                       ///< never draw an end-of-generation token
  std::vector<std::string> stop;                 ///< text that ends generation; not part of the output
  const std::atomic<bool>* interrupt = nullptr;  ///< set by another thread or a signal handler to stop
  std::size_t prefill_step = 512;                ///< prompt tokens between two looks at `interrupt`
  /// Called while the prompt is processed: tokens done, tokens in all. The last call has both equal.
  std::function<void(std::size_t, std::size_t)> on_prefill;
  /// After the session's last token, for a prompt of which nothing is left to read.
  std::span<const float> logits{};
  /// Called when the whole prompt was read, with the logits after it.
  std::function<void(std::span<const float>)> on_prompt_read{};
};

enum class StopReason { kEndOfGeneration, kStopString, kLength, kContextFull, kMemoryFull, kInterrupted };
/// "eos", "stop", "length", "context", "memory", "interrupted"
std::string_view to_string(StopReason reason);

struct Generation {
  std::string text;
  std::size_t n_prompt = 0;
  std::vector<Token> tokens;  ///< sampled, an end-of-generation token left out
  std::size_t n_decoded = 0;  ///< those of `tokens` that went through the model: perhaps not the last
  /// Those of `tokens` that lie wholly in `text`: all, unless a stop string ended it. The session forgets the
  /// others.
  std::size_t n_kept = 0;
  std::string rest;  ///< end of `text` that lies within a token that is not kept
  StopReason stop_reason = StopReason::kLength;
  double prefill_ms = 0;
  double decode_ms = 0;
  /// After the session's last token, valid until its next call; empty where tokens were forgotten.
  std::span<const float> logits{};
};

/// Feeds `prompt` and samples until something stops it. Text goes to `on_text` as it is made: never half a
/// UTF-8 character, never a part of a stop string. Throws Error when the prompt is empty, unless there are
/// logits to begin with, or longer than the session's capacity.
Generation generate(Session& session, const Tokenizer& tokenizer, Sampler& sampler,
                    const std::vector<Token>& prompt, const GenerateOptions& options,
                    const std::function<void(std::string_view)>& on_text);

}  // namespace miser
