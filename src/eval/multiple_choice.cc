#include "eval/multiple_choice.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <string>

#include "base/error.h"
#include "eval/items_text.h"
#include "nn/ops.h"

namespace miser::eval {
namespace {

std::vector<Token> encode(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<Token> tokens = tokenizer.encode(text, {.add_special = false, .parse_special = true});
  const auto bos = tokenizer.bos();
  if (tokenizer.adds_bos() && bos && (tokens.empty() || tokens.front() != *bos))
    tokens.insert(tokens.begin(), *bos);
  return tokens;
}

/// Adds what one token brings: ln softmax(logits)[token], the sum over the vocabulary in double.
void add_token(std::span<const float> logits, Token token, EndingScore& score) {
  constexpr std::size_t kPart = 1024;  // so few terms may be summed in float
  std::array<float, kPart> part{};
  const float max = nn::max_of(logits);
  double sum = 0;
  for (std::size_t at = 0; at < logits.size(); at += kPart) {
    const auto from = logits.subspan(at, std::min(kPart, logits.size() - at));
    std::copy(from.begin(), from.end(), part.begin());
    sum += nn::exp_shifted(std::span(part).first(from.size()), max);
  }
  const float logit = logits[static_cast<std::size_t>(token)];
  score.logprob += static_cast<double>(logit) - max - std::log(sum);
  score.greedy = score.greedy && logit == max;
}

/// Tokens that all sequences begin with, at most the shortest context.
std::size_t common_prefix(std::span<const Sequence> endings) {
  const Sequence& first = endings.front();
  std::size_t n = first.n_context;
  for (const Sequence& other : endings) {
    n = std::min(n, other.n_context);
    const auto end = first.tokens.begin() + static_cast<std::ptrdiff_t>(n);
    n = static_cast<std::size_t>(std::mismatch(first.tokens.begin(), end, other.tokens.begin()).first -
                                 first.tokens.begin());
  }
  return n;
}

void add_cache(const kv::Cache& cache, QuestionScore& score) {
  score.bytes += cache.bytes();
  score.bytes_f16 += cache.bytes_f16();
  const bool packed = cache.size() > 0 && cache.exact_begin(cache.size() - 1) > cache.config().sinks;
  score.packed = score.packed || packed;
}

}  // namespace

Sequence encode_pair(const Tokenizer& tokenizer, std::string_view context, std::string_view continuation,
                     std::string_view where) {
  const std::string_view bare = rstrip(context);
  assert(!bare.empty());
  const std::vector<Token> whole = encode(tokenizer, std::string(context).append(continuation));
  Sequence sequence{encode(tokenizer, bare), 0};
  sequence.n_context = sequence.tokens.size();
  if (whole.size() <= sequence.n_context)
    fail("{}: the ending '{}' has no token of its own", where, continuation);
  const auto own = whole.begin() + static_cast<std::ptrdiff_t>(sequence.n_context);
  sequence.tokens.insert(sequence.tokens.end(), own, whole.end());
  return sequence;
}

ChoiceScorer::ChoiceScorer(const Model& model, nn::ThreadPool& pool, const SessionOptions& options)
    : n_vocab_(model.config().n_vocab),
      shared_(model, pool, options),
      prefix_(model, pool, options),
      branch_(model, pool, options) {}

void ChoiceScorer::feed(Session& session, std::span<const Token> tokens) {
  if (tokens.empty()) return;
  const auto logits = session.feed(tokens);
  logits_.assign(logits.begin(), logits.end());
  tokens_fed_ += tokens.size();
}

void ChoiceScorer::read_shared(std::span<const Token> tokens) {
  shared_.clear();
  feed(shared_, tokens);
  shared_logits_ = logits_;
}

QuestionScore ChoiceScorer::score(std::span<const Sequence> endings) {
  assert(!endings.empty());
  const std::size_t n_prefix = common_prefix(endings);
  assert(n_prefix >= shared_.size());
  prefix_.copy_tokens(shared_);
  logits_ = shared_logits_;
  feed(prefix_, std::span(endings.front().tokens).first(n_prefix).subspan(shared_.size()));
  QuestionScore score;
  for (const Sequence& ending : endings) {
    score.endings.push_back(score_ending(ending));
    add_cache(branch_.cache(), score);
  }
  return score;
}

EndingScore ChoiceScorer::score_ending(const Sequence& ending) {
  const std::size_t n_prefix = prefix_.size();
  EndingScore score{0, true};
  if (ending.n_context == n_prefix) add_token(logits_, ending.tokens[n_prefix], score);
  branch_.copy_tokens(prefix_);
  // The last token is predicted only: nothing follows it.
  const auto rest = std::span(ending.tokens).subspan(n_prefix, ending.tokens.size() - 1 - n_prefix);
  if (rest.empty()) return score;
  branch_.feed_all(rest, [&](std::size_t first, std::span<const float> logits) {
    for (std::size_t row = 0; row * n_vocab_ < logits.size(); ++row) {
      const std::size_t next = n_prefix + first + row + 1;
      if (next < ending.n_context) continue;
      add_token(logits.subspan(row * n_vocab_, n_vocab_), ending.tokens[next], score);
    }
  });
  tokens_fed_ += rest.size();
  return score;
}

}  // namespace miser::eval
