#include "tokenizer/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <cassert>
#include <new>
#include <optional>
#include <span>
#include <utility>

#include "base/error.h"
#include "tokenizer/pre_tokenizer_patterns.h"

namespace miser {
namespace {

// No pattern tries more than a few ways from one character; this only bounds what a mistake could cost.
constexpr std::uint32_t kMatchLimit = 1U << 30;

template <auto* Free>
struct Freer {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using Code = std::unique_ptr<pcre2_code, Freer<pcre2_code_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Freer<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Freer<pcre2_match_context_free>>;

PCRE2_SPTR units(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

[[noreturn]] void fail_pcre2(const char* what, int code) {
  std::array<PCRE2_UCHAR, 128> message{};
  pcre2_get_error_message(code, message.data(), message.size());
  fail("{}: PCRE2: {}", what, reinterpret_cast<const char*>(message.data()));
}

Code compile(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  Code code(pcre2_compile(units(pattern), pattern.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY,
                          &error, &offset, nullptr));
  if (code == nullptr) fail_pcre2("pre-tokenizer", error);
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // where there is no JIT, matching is slower
  return code;
}

/// Scratch memory of one split, for any of the patterns.
class Matcher {
 public:
  Matcher() : data_(pcre2_match_data_create(1, nullptr)), context_(pcre2_match_context_create(nullptr)) {
    if (data_ == nullptr || context_ == nullptr) throw std::bad_alloc();
    pcre2_set_match_limit(context_.get(), kMatchLimit);
  }

  struct Match {
    std::size_t begin, end;
  };

  std::optional<Match> find(const pcre2_code* code, std::string_view text, std::size_t from) {
    const int found = run(code, text, from, PCRE2_NO_UTF_CHECK);
    if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
    if (found < 0) fail_pcre2("cannot split the text into words", found);
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data_.get());
    assert(ends[0] < ends[1]);
    return Match{ends[0], ends[1]};
  }

  /// Bytes of `text` before the first that is no valid UTF-8. REQUIRES: `nothing` is the empty pattern.
  std::size_t valid_prefix(const pcre2_code* nothing, std::string_view text) {
    const int found = run(nothing, text, 0, PCRE2_ANCHORED);
    const bool invalid = found <= PCRE2_ERROR_UTF8_ERR1 && found >= PCRE2_ERROR_UTF8_ERR21;
    return invalid ? pcre2_get_startchar(data_.get()) : text.size();
  }

 private:
  int run(const pcre2_code* code, std::string_view text, std::size_t from, std::uint32_t options) {
    return pcre2_match(code, units(text), text.size(), from, options, data_.get(), context_.get());
  }

  MatchData data_;
  MatchContext context_;
};

using Use = std::function<void(std::string_view)>;

/// Cuts `text` by the first of `codes` and each part by the rest.
void cut(std::span<const Code> codes, Matcher& matcher, std::string_view text, const Use& use) {
  if (codes.empty()) return use(text);
  std::size_t done = 0;
  while (done < text.size()) {
    const auto match = matcher.find(codes[0].get(), text, done);
    const std::size_t gap_end = match ? match->begin : text.size();
    if (gap_end > done) cut(codes.subspan(1), matcher, text.substr(done, gap_end - done), use);
    if (!match) return;
    cut(codes.subspan(1), matcher, text.substr(match->begin, match->end - match->begin), use);
    done = match->end;
  }
}

}  // namespace

struct PreTokenizer::Impl {
  std::vector<Code> codes;
  Code nothing;  ///< matches at once, after PCRE2 has looked whether the text is UTF-8
};

PreTokenizer::PreTokenizer(const std::vector<std::string>& patterns) {
  Impl impl{{}, compile("")};
  for (const std::string& pattern : patterns) impl.codes.push_back(compile(pattern));
  impl_ = std::make_unique<const Impl>(std::move(impl));
}

PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;

std::optional<PreTokenizer> PreTokenizer::named(std::string_view name) {
  for (const PreTokenizerPatterns& known : pre_tokenizer_patterns()) {
    if (known.name == name) return PreTokenizer(known.patterns);
  }
  return std::nullopt;
}

std::string PreTokenizer::names() {
  std::vector<std::string_view> names;
  for (const PreTokenizerPatterns& known : pre_tokenizer_patterns()) names.push_back(known.name);
  return fmt::to_string(fmt::join(names, ", "));
}

void PreTokenizer::split(std::string_view text, const Use& use) const {
  Matcher matcher;
  while (!text.empty()) {
    const std::size_t valid = matcher.valid_prefix(impl_->nothing.get(), text);
    if (valid > 0) cut(impl_->codes, matcher, text.substr(0, valid), use);
    text.remove_prefix(valid);
    if (text.empty()) return;
    use(text.substr(0, 1));
    text.remove_prefix(1);
  }
}

}  // namespace miser
