#pragma once
#include <cstddef>
#include <deque>
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

/// Tokens of the contexts that the endings of a question begin with alike; at most the shortest context.
std::size_t common_beginning(std::span<const Sequence> endings);

/// Caches that are open at a time hold about so many tokens at most: 190 MB for SmolLM2-135M at 16 bits.
inline constexpr std::size_t kMaxOpenTokens = 8192;

/// Scores the endings of questions with one policy. What the endings of a question begin with alike is read
/// once and copied. All questions of a call share their passes, so that products have many rows.
class ChoiceScorer {
 public:
  /// `model` and `pool` outlive it. Throws UsageError as Session does.
  ChoiceScorer(const Model& model, nn::ThreadPool& pool, const SessionOptions& options);

  /// Reads a beginning that all further questions share; empty: none.
  void read_shared(std::span<const Token> tokens);
  /// Scores questions, each given by its endings. A question's score does not depend on the others.
  /// REQUIRES: every sequence begins with the shared tokens as a part of its context and fits the context.
  std::vector<QuestionScore> score(std::span<const std::span<const Sequence>> questions);

  std::string policy_name() const { return shared_.policy().name(); }
  std::size_t context() const { return shared_.context(); }
  std::size_t tokens_fed() const { return tokens_fed_; }  ///< through the model so far

 private:
  /// An ending to be scored.
  struct Branch {
    const Sequence* ending;
    const Session* beginning;  ///< what the endings of its question begin with
    QuestionScore* question;
    EndingScore* score;

    /// What goes through the model: the last token is predicted only.
    std::span<const Token> rest() const;
  };

  void read_beginnings(std::span<const std::span<const Sequence>> questions,
                       std::vector<QuestionScore>& scores);
  std::size_t count_fitting(std::span<const Branch> branches) const;
  void score_branches(std::span<const Branch> branches);
  void score_rows(const Branch& branch, std::size_t first, std::span<const float> logits);
  void open(std::deque<Session>& sessions, std::size_t n);

  const Model& model_;
  nn::ThreadPool& pool_;
  SessionOptions options_;
  std::size_t n_vocab_;
  Session shared_;                    ///< what read_shared read
  std::vector<float> shared_logits_;  ///< after its last token [n_vocab]
  std::deque<Session> beginnings_;    ///< one a question, empty between calls
  std::deque<Session> branches_;      ///< one an ending, empty between calls
  std::size_t tokens_fed_ = 0;
};

}  // namespace miser::eval
