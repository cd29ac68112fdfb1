#pragma once
#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "cli/run_engine.h"
#include "cli/run_options.h"
#include "cli/show_bits.h"

namespace miser::cli {

/// Where the text of `miser run` goes: standard output, coloured or not, or nowhere with --json.
class Printer {
 public:
  /// Both outlive it.
  Printer(const Engine& engine, const RunOptions& options);

  /// `text` was encoded as `tokens` and is the beginning of the session.
  void prompt(std::string_view text, const std::vector<Token>& tokens);
  /// The text that follows belongs to the tokens from `position` on.
  void begin(std::size_t position);
  void add(std::string_view text);
  /// Prints what was kept, and then `terminator` unless --json.
  void end(std::string_view terminator);
  /// Whether a terminal's cursor stands after a line's end.
  bool at_line_start() const { return last_ == '\n'; }

 private:
  void write(std::string_view text);

  const Engine& engine_;
  bool silent_;
  char last_ = '\n';
  std::optional<BitsPainter> painter_;
};

}  // namespace miser::cli
