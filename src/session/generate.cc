#include "session/generate.h"

#include <algorithm>
#include <chrono>
#include <span>

#include "base/error.h"
#include "session/text_stream.h"

namespace miser {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// One call of generate().
class Run {
 public:
  Run(Session& session, const Tokenizer& tokenizer, Sampler& sampler, const GenerateOptions& options,
      const TextStream::Sink& on_text)
      : session_(session),
        tokenizer_(tokenizer),
        sampler_(sampler),
        options_(options),
        text_(options.stop, on_text) {
    for (Token id = 0; options.ignore_eos && id < tokenizer.size(); ++id) {
      if (tokenizer.is_end_of_generation(id)) banned_.push_back(id);
    }
  }

  Generation operator()(std::span<const Token> prompt) {
    check_fits(prompt);
    result_.n_prompt = prompt.size();
    const auto start = Clock::now();
    const bool prefilled = prefill(prompt);
    result_.prefill_ms = ms_since(start);
    const auto decode_start = Clock::now();
    result_.stop_reason = prefilled ? decode() : StopReason::kInterrupted;
    text_.finish();
    forget_stop_string();
    result_.decode_ms = ms_since(decode_start);
    result_.logits = logits_;
    result_.text = text_.text();
    return std::move(result_);
  }

 private:
  void check_fits(std::span<const Token> prompt) const {
    if (prompt.empty() && options_.logits.empty()) fail("the prompt is empty");
    // A prompt must fit, but what follows it later need not where the context shifts.
    const bool shifts = session_.shifts() && session_.size() > 0;
    const std::size_t room = session_.capacity() - (shifts ? 0 : session_.size());
    if (prompt.size() <= room) return;
    if (session_.capacity() < session_.context()) {
      fail(
          "the prompt has {} tokens, the KV memory has room for {} (--kv-memory sets it, --kv-overflow "
          "drop-oldest "
          "goes on without the oldest)",
          prompt.size(), room);
    }
    if (session_.size() == 0) {
      fail("the prompt has {} tokens, the context has room for {} (-c sets it)", prompt.size(), room);
    }
    fail("{} more tokens do not fit: {} of the context's {} are left", prompt.size(), room,
         session_.context());
  }

  // Whether the whole prompt was fed before an interrupt.
  bool prefill(std::span<const Token> prompt) {
    logits_ = options_.logits;
    if (prompt.empty() && options_.on_prefill) options_.on_prefill(0, 0);
    for (std::size_t done = 0; done < prompt.size();) {
      if (interrupted()) return false;
      const std::size_t n = std::min(options_.prefill_step, prompt.size() - done);
      logits_ = session_.feed(prompt.subspan(done, n));
      done += n;
      if (options_.on_prefill) options_.on_prefill(done, prompt.size());
    }
    if (options_.on_prompt_read) options_.on_prompt_read(logits_);
    return true;
  }

  StopReason decode() {
    const auto vocabulary = static_cast<std::size_t>(tokenizer_.size());
    while (options_.max_tokens < 0 || std::cmp_less(result_.tokens.size(), options_.max_tokens)) {
      if (interrupted()) return StopReason::kInterrupted;
      const Token token = sampler_.sample(logits_.first(vocabulary), session_.tokens(), banned_);
      if (!options_.ignore_eos && tokenizer_.is_end_of_generation(token)) return StopReason::kEndOfGeneration;
      result_.tokens.push_back(token);
      if (text_.add(tokenizer_.piece(token))) return StopReason::kStopString;
      if (std::cmp_equal(result_.tokens.size(), options_.max_tokens)) return StopReason::kLength;
      if (session_.size() == session_.capacity() && !session_.shifts())
        return session_.capacity() == session_.context() ? StopReason::kContextFull : StopReason::kMemoryFull;
      logits_ = session_.feed(std::span(&token, 1));
      ++result_.n_decoded;
    }
    return StopReason::kLength;  // 0 tokens were asked for
  }

  // Drops the tokens that reach into the stop string or past it from the session.
  void forget_stop_string() {
    std::size_t& n = result_.n_kept;
    n = result_.tokens.size();
    if (result_.stop_reason != StopReason::kStopString) return;
    std::string_view rest = text_.text();
    for (n = 0; !rest.empty(); ++n) {
      const std::size_t size = tokenizer_.piece(result_.tokens[n]).size();
      if (size > rest.size()) break;
      rest.remove_prefix(size);
    }
    result_.rest = rest;
    if (n >= result_.n_decoded) return;
    logits_ = {};
    session_.truncate(session_.size() - (result_.n_decoded - n));
  }

  bool interrupted() const { return options_.interrupt != nullptr && options_.interrupt->load(); }

  Session& session_;
  const Tokenizer& tokenizer_;
  Sampler& sampler_;
  const GenerateOptions& options_;
  TextStream text_;
  std::vector<Token> banned_;
  std::span<const float> logits_;  // [n_vocab] after the last token fed
  Generation result_;
};

}  // namespace

std::string_view to_string(StopReason reason) {
  switch (reason) {
    case StopReason::kEndOfGeneration:
      return "eos";
    case StopReason::kStopString:
      return "stop";
    case StopReason::kLength:
      return "length";
    case StopReason::kContextFull:
      return "context";
    case StopReason::kMemoryFull:
      return "memory";
    case StopReason::kInterrupted:
      return "interrupted";
  }
  return "";
}

Generation generate(Session& session, const Tokenizer& tokenizer, Sampler& sampler,
                    const std::vector<Token>& prompt, const GenerateOptions& options,
                    const std::function<void(std::string_view)>& on_text) {
  return Run(session, tokenizer, sampler, options, on_text)(prompt);
}

}  // namespace miser
