#include "cli/show_bits.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "base/utf8.h"

namespace miser::cli {
namespace {

struct Step {
  float up_to;  ///< mean bits
  int colour;   ///< of the 256; all of middling brightness, for dark and light terminals
  const char* label;
};

// From red (1 bit) over yellow and green to blue and violet; a step for each width of the ladder.
constexpr std::array<Step, 6> kRamp = {{{1.5F, 160, "1"},
                                        {2.5F, 172, "2"},
                                        {3.5F, 136, "3"},
                                        {5.5F, 71, "4"},
                                        {9.0F, 32, "8"},
                                        {15.99F, 134, "to 16"}}};

std::string painted(std::string_view text, float bits) {
  const auto* step =
      std::find_if(kRamp.begin(), kRamp.end(), [bits](const Step& s) { return bits <= s.up_to; });
  if (step == kRamp.end() || text.empty()) return std::string(text);
  return fmt::format("\033[38;5;{}m{}\033[39m", step->colour, text);
}

}  // namespace

BitsPainter::BitsPainter(const Session& session, const Tokenizer& tokenizer,
                         std::function<void(std::string_view)> out)
    : session_(session), tokenizer_(tokenizer), out_(std::move(out)) {}

void BitsPainter::begin(std::size_t position, std::size_t n_special) {
  next_ = position;
  n_special_ = n_special;
}

void BitsPainter::add(std::string_view text) {
  text_ += text;
  paint();
}

void BitsPainter::end() {
  paint();
  if (!text_.empty()) out_(text_);
  text_.clear();
}

std::string BitsPainter::piece(std::size_t position) const {
  return tokenizer_.piece(session_.tokens()[position], position < n_special_);
}

// Prints the tokens that have left, tokens that share a character together.
void BitsPainter::paint() {
  const kv::Cache& cache = session_.cache();
  const std::size_t left = cache.layer(cache.config().n_layers - 1).staged_begin;
  while (next_ < left) {
    std::size_t end = next_;
    std::size_t bytes = 0;
    do {
      bytes += piece(end++).size();
      if (bytes > text_.size()) return;  // held back as a possible stop string
    } while (complete_utf8_prefix(std::string_view(text_).substr(0, bytes)) < bytes && end < left);
    const std::string_view whole = std::string_view(text_).substr(0, bytes);
    if (complete_utf8_prefix(whole) < bytes) return;
    if (bytes > 0) out_(painted(whole, session_.record()->at(end - 1).bits));
    text_.erase(0, bytes);
    next_ = end;
  }
}

std::string BitsPainter::legend(bool coloured) {
  std::string line = "bits per element:";
  for (const Step& step : kRamp)
    fmt::format_to(std::back_inserter(line), " {}", coloured ? painted(step.label, step.up_to) : step.label);
  return line + "; plain: exact\n";
}

}  // namespace miser::cli
