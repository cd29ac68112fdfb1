#include "eval/recall.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"
#include "eval/multiple_choice.h"
#include "eval/recall_text.h"

namespace miser::eval {
namespace {

std::size_t count_tokens(const Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(text, {.add_special = false, .parse_special = false}).size();
}

/// A document under construction: sentences with the facts among them, evenly spread.
class Document {
 public:
  Document(const RecallText& text, std::size_t document, std::size_t n_documents)
      : text_(text), facts_(text_.facts()), shift_(static_cast<double>(document) + 0.5) {
    shift_ /= static_cast<double>(n_documents);
  }

  const std::vector<Fact>& facts() const { return facts_; }
  /// Adds filler of about `n_tokens`.
  void fill(const Tokenizer& tokenizer, std::size_t n_tokens) {
    for (std::size_t used = 0;;) {
      std::string sentence = fmt::format(" {}", text_.filler());
      used += count_tokens(tokenizer, sentence);
      if (used > n_tokens) return;
      filler_.push_back(std::move(sentence));
    }
  }
  /// Takes the last sentence of filler away; false when there is none.
  bool shorten() {
    if (filler_.empty()) return false;
    filler_.pop_back();
    return true;
  }
  /// The text; `ends` gets the byte at which each fact ends.
  std::string write(std::vector<std::size_t>& ends) const {
    std::string out = text_.introduction();
    out += "Here are the notes.";
    ends.clear();
    for (std::size_t i = 0; i <= filler_.size(); ++i) {
      while (ends.size() < facts_.size() && place(ends.size()) <= i) {
        out += fmt::format(" {}", facts_[ends.size()].statement);
        ends.push_back(out.size());
      }
      if (i < filler_.size()) out += filler_[i];
    }
    return out;
  }

 private:
  /// Sentences of filler before fact `i`. Documents differ in it, so that all distances occur.
  std::size_t place(std::size_t i) const {
    const double share = (static_cast<double>(i) + shift_) / static_cast<double>(facts_.size());
    return static_cast<std::size_t>(share * static_cast<double>(filler_.size()));
  }

  RecallText text_;
  std::vector<Fact> facts_;
  double shift_;  ///< in (0, 1)
  std::vector<std::string> filler_;
};

/// Tokens that the contexts of all questions begin with.
std::vector<Token> shared_tokens(const std::vector<Question>& questions) {
  const Sequence& first = questions.front().endings.front();
  std::vector<Token> shared(first.tokens.begin(),
                            first.tokens.begin() + static_cast<std::ptrdiff_t>(first.n_context) - 1);
  for (const Question& question : questions) {
    const auto& other = question.endings.front().tokens;
    shared.erase(std::mismatch(shared.begin(), shared.end(), other.begin(), other.end()).first, shared.end());
  }
  return shared;
}

std::size_t longest(const std::vector<Question>& questions) {
  std::size_t n = 0;
  for (const Question& question : questions) {
    for (const Sequence& ending : question.endings) n = std::max(n, ending.tokens.size());
  }
  return n;
}

std::vector<Question> ask(const Tokenizer& tokenizer, const Document& document, const std::string& where) {
  std::vector<std::size_t> ends;
  const std::string text = document.write(ends);
  std::vector<Question> questions;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const Fact& fact = document.facts()[i];
    Question question;
    question.where = where;
    question.label = fact.label;
    for (const std::string& answer : fact.answers) {
      question.endings.push_back(
          encode_pair(tokenizer, text + fact.question, fmt::format(" {}", answer), where));
      question.characters.push_back(answer.size());
    }
    const std::size_t fact_end = count_tokens(tokenizer, std::string_view(text).substr(0, ends[i]));
    question.place = Place{"", 0, question.endings[fact.label].n_context - fact_end};
    questions.push_back(std::move(question));
  }
  return questions;
}

std::vector<Question> make_document(const Tokenizer& tokenizer, const RecallOptions& options, RecallKind kind,
                                    std::size_t length, std::size_t index) {
  const std::string where =
      fmt::format("recall, {} document {} of {} tokens", to_string(kind), index, length);
  Document document(RecallText(options.seed, kind, length, index), index, options.n_documents);
  std::vector<Question> questions = ask(tokenizer, document, where);
  const std::size_t bare = longest(questions);
  if (bare < length) document.fill(tokenizer, length - bare);
  for (questions = ask(tokenizer, document, where); longest(questions) > length;
       questions = ask(tokenizer, document, where)) {
    if (!document.shorten())
      fail_usage("--length: found {}, expected at least {}", length, longest(questions));
  }
  const std::vector<Token> shared = shared_tokens(questions);
  for (Question& question : questions) {
    question.shared = shared;
    question.place->kind = to_string(kind);
    question.place->length = length;
  }
  return questions;
}

}  // namespace

std::vector<Question> recall_questions(const Tokenizer& tokenizer, const RecallOptions& options) {
  std::vector<Question> all;
  std::size_t n_documents = 0;
  for (const RecallKind kind : {RecallKind::kPasskey, RecallKind::kFacts}) {
    for (const std::size_t length : options.lengths) {
      for (std::size_t i = 0; i < options.n_documents; ++i, ++n_documents) {
        for (Question& question : make_document(tokenizer, options, kind, length, i)) {
          question.document = n_documents;
          all.push_back(std::move(question));
        }
      }
    }
  }
  return all;
}

}  // namespace miser::eval
