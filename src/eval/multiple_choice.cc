#include "eval/multiple_choice.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstdint>
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

/// ln softmax of a row of logits, the sum over the vocabulary in double.
class LogSoftmax {
 public:
  explicit LogSoftmax(std::span<const float> logits) : logits_(logits), max_(nn::max_of(logits)) {
    constexpr std::size_t kPart = 1024;  // so few terms may be summed in float
    std::array<float, kPart> part{};
    double sum = 0;
    for (std::size_t at = 0; at < logits.size(); at += kPart) {
      const auto from = logits.subspan(at, std::min(kPart, logits.size() - at));
      std::copy(from.begin(), from.end(), part.begin());
      sum += nn::exp_shifted(std::span(part).first(from.size()), max_);
    }
    log_sum_ = std::log(sum);
  }

  double of(Token token) const { return static_cast<double>(logit(token)) - max_ - log_sum_; }
  bool is_likeliest(Token token) const { return logit(token) == max_; }

 private:
  float logit(Token token) const { return logits_[static_cast<std::size_t>(token)]; }

  std::span<const float> logits_;
  float max_;
  double log_sum_ = 0;
};

void add_token(double logprob, bool likeliest, EndingScore& score) {
  score.logprob += logprob;
  score.greedy = score.greedy && likeliest;
}

/// Scores the endings that start right after the beginning, whose last logits these are.
void score_first_tokens(std::span<const Sequence> endings, std::size_t n_beginning,
                        std::span<const float> logits, QuestionScore& score) {
  const LogSoftmax softmax(logits);
  for (std::size_t e = 0; e < endings.size(); ++e) {
    if (endings[e].n_context != n_beginning) continue;
    const Token token = endings[e].tokens[n_beginning];
    add_token(softmax.of(token), softmax.is_likeliest(token), score.endings[e]);
  }
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

std::size_t common_beginning(std::span<const Sequence> endings) {
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

ChoiceScorer::ChoiceScorer(const Model& model, nn::ThreadPool& pool, const SessionOptions& options)
    : model_(model),
      pool_(pool),
      options_(options),
      n_vocab_(model.config().n_vocab),
      shared_(model, pool, options) {}

void ChoiceScorer::read_shared(std::span<const Token> tokens) {
  shared_.clear();
  if (tokens.empty()) return;
  const auto logits = shared_.feed(tokens);
  shared_logits_.assign(logits.begin(), logits.end());
  tokens_fed_ += tokens.size();
}

std::vector<QuestionScore> ChoiceScorer::score(std::span<const std::span<const Sequence>> questions) {
  std::vector<QuestionScore> scores(questions.size());
  read_beginnings(questions, scores);
  std::vector<Branch> branches;
  for (std::size_t q = 0; q < questions.size(); ++q) {
    for (std::size_t e = 0; e < questions[q].size(); ++e)
      branches.push_back({&questions[q][e], &beginnings_[q], &scores[q], &scores[q].endings[e]});
  }
  for (std::span<const Branch> left = branches; !left.empty();) {
    const std::size_t n = count_fitting(left);
    score_branches(left.first(n));
    left = left.subspan(n);
  }
  for (std::size_t q = 0; q < questions.size(); ++q) beginnings_[q].clear();
  return scores;
}

/// Makes sure of n sessions.
void ChoiceScorer::open(std::deque<Session>& sessions, std::size_t n) {
  while (sessions.size() < n) sessions.emplace_back(model_, pool_, options_);
}

void ChoiceScorer::read_beginnings(std::span<const std::span<const Sequence>> questions,
                                   std::vector<QuestionScore>& scores) {
  open(beginnings_, questions.size());
  std::vector<Session::Feed> feeds;
  for (std::size_t q = 0; q < questions.size(); ++q) {
    const auto endings = questions[q];
    assert(!endings.empty());
    scores[q].endings.assign(endings.size(), {0, true});
    const std::size_t n = common_beginning(endings);
    assert(n >= shared_.size());
    beginnings_[q].copy_tokens(shared_);
    const auto fresh = std::span(endings.front().tokens).first(n).subspan(shared_.size());
    tokens_fed_ += fresh.size();
    if (fresh.empty()) {
      if (n > 0) score_first_tokens(endings, n, shared_logits_, scores[q]);
      continue;
    }
    feeds.push_back({&beginnings_[q], fresh, 1, [=, &scores](std::size_t, std::span<const float> logits) {
                       score_first_tokens(endings, n, logits, scores[q]);
                     }});
  }
  Session::feed_together(feeds);
}

std::span<const Token> ChoiceScorer::Branch::rest() const {
  const std::size_t n = beginning->size();
  return std::span(ending->tokens).subspan(n, ending->tokens.size() - 1 - n);
}

/// Branches that one pass takes and memory holds, at least one.
std::size_t ChoiceScorer::count_fitting(std::span<const Branch> branches) const {
  std::size_t n = 0;
  std::size_t rows = 0;
  std::size_t tokens = 0;
  for (const Branch& branch : branches) {
    rows += branch.rest().size();
    tokens += branch.ending->tokens.size();
    if (n > 0 && (rows > options_.batch || tokens > kMaxOpenTokens)) break;
    ++n;
  }
  return n;
}

void ChoiceScorer::score_branches(std::span<const Branch> branches) {
  open(branches_, branches.size());
  pool_.parallel_for(branches.size(),
                     [&](std::size_t i, int) { branches_[i].copy_tokens(*branches[i].beginning); });
  std::vector<Session::Feed> feeds;
  for (std::size_t i = 0; i < branches.size(); ++i) {
    const Branch& branch = branches[i];
    const Sequence& ending = *branch.ending;
    const std::size_t first_scored = std::max(ending.n_context, branch.beginning->size() + 1);
    tokens_fed_ += branch.rest().size();
    feeds.push_back({&branches_[i], branch.rest(), ending.tokens.size() - first_scored,
                     [this, &branch](std::size_t first, std::span<const float> logits) {
                       score_rows(branch, first, logits);
                     }});
  }
  Session::feed_together(feeds);
  for (std::size_t i = 0; i < branches.size(); ++i) add_cache(branches_[i].cache(), *branches[i].question);
  pool_.parallel_for(branches.size(), [&](std::size_t i, int) { branches_[i].clear(); });
}

/// Row r of `logits` follows token `first` + r of the rest.
void ChoiceScorer::score_rows(const Branch& branch, std::size_t first, std::span<const float> logits) {
  const std::size_t n = logits.size() / n_vocab_;
  const auto next = std::span(branch.ending->tokens).subspan(branch.beginning->size() + first + 1, n);
  std::vector<double> logprobs(n);
  std::vector<std::uint8_t> likeliest(n);
  pool_.parallel_for(n, [&](std::size_t row, int) {
    const LogSoftmax softmax(logits.subspan(row * n_vocab_, n_vocab_));
    logprobs[row] = softmax.of(next[row]);
    likeliest[row] = softmax.is_likeliest(next[row]) ? 1 : 0;
  });
  for (std::size_t row = 0; row < n; ++row) add_token(logprobs[row], likeliest[row] != 0, *branch.score);
}

}  // namespace miser::eval
