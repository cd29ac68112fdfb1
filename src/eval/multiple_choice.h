#pragma once
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "session/session.h"
#include "tokenizer/tokenizer.h"

namespace miser::eval {

/// A context and the continuation that is scored after it.
struct Sequence {
  std::vector<Token> tokens;
  std::size_t n_context = 0;  ///< tokens that are not scored; at least 1
};

/// The harness's rule for causal models: the context is encoded without the white space that ends it, and the
/// continuation's tokens are those of the whole text but for as many as the context has alone. BOS comes
/// first where the model asks for it and the text has none. Throws Error naming `where` when no token is left
/// to score. REQUIRES: `context` is more than white space.
Sequence encode_pair(const Tokenizer& tokenizer, std::string_view context, std::string_view continuation,
                     std::string_view where);

struct EndingScore {
  double logprob = 0;   ///< summed over the continuation's tokens, nats
  bool greedy = false;  ///< whether greedy decoding would write just these tokens
};

struct QuestionScore {
  std::vector<EndingScore> endings;
  std::size_t bytes = 0;      ///< of the caches after each ending, summed
  std::size_t bytes_f16 = 0;  ///< the same tokens in binary16
  bool packed = false;        ///< whether any query read a packed token
};

/// Scores the endings of questions with one policy. What they begin with alike is read once and copied.
class ChoiceScorer {
 public:
  /// `model` and `pool` outlive it. Throws UsageError as Session does.
  ChoiceScorer(const Model& model, nn::ThreadPool& pool, const SessionOptions& options);

  /// Reads a beginning that all further questions share; empty: none.
  void read_shared(std::span<const Token> tokens);
  /// REQUIRES: every sequence begins with the shared tokens as a part of its context and fits the context.
  QuestionScore score(std::span<const Sequence> endings);

  std::string policy_name() const { return shared_.policy().name(); }
  std::size_t context() const { return shared_.context(); }
  std::size_t tokens_fed() const { return tokens_fed_; }  ///< through the model so far

 private:
  void feed(Session& session, std::span<const Token> tokens);
  EndingScore score_ending(const Sequence& ending);

  std::size_t n_vocab_;
  Session shared_;                    ///< what read_shared read
  Session prefix_;                    ///< what the endings of a question begin with
  Session branch_;                    ///< one ending
  std::vector<float> logits_;         ///< after the last token of prefix_ [n_vocab]
  std::vector<float> shared_logits_;  ///< after the last token of shared_ [n_vocab]
  std::size_t tokens_fed_ = 0;
};

}  // namespace miser::eval
