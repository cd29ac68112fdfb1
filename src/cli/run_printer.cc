#include "cli/run_printer.h"

#include <unistd.h>

#include "cli/run_output.h"

namespace miser::cli {

Printer::Printer(const Engine& engine, const RunOptions& options) : engine_(engine), silent_(options.json) {
  if (!options.show_bits) return;
  if (silent_ || isatty(STDOUT_FILENO) == 0) {
    note("standard output is no terminal: --show-bits leaves the text plain\n");
    return;
  }
  painter_.emplace(engine.session, engine.tokenizer, [this](std::string_view text) { write(text); });
  note(BitsPainter::legend(isatty(STDERR_FILENO) != 0));
}

void Printer::prompt(std::string_view text, const std::vector<Token>& tokens) {
  if (!painter_) {
    write(text);
    return;
  }
  painter_->begin(0, tokens.size());
  for (const Token token : tokens) painter_->add(engine_.tokenizer.piece(token, true));
}

void Printer::begin(std::size_t position) {
  if (painter_) painter_->begin(position, 0);
}

void Printer::add(std::string_view text) {
  painter_ ? painter_->add(text) : write(text);
}

void Printer::end(std::string_view terminator) {
  if (painter_) painter_->end();
  write(terminator);
}

void Printer::write(std::string_view text) {
  if (silent_ || text.empty()) return;
  write_output(text);
  last_ = text.back();
}

}  // namespace miser::cli
