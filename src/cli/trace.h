#pragma once
#include <cstdio>
#include <memory>
#include <string>

#include "session/session.h"
#include "tokenizer/tokenizer.h"

namespace miser::cli {

/// A file of JSON lines, one per token: id, piece, position, the paper's signals (policy/signals.h), ours and
/// the mean bits (policy/recorder.h), and whether it has left the window; before that our signals are 0 and
/// the bits 16.
class Trace {
 public:
  /// Creates the file, so that an unwritable one is known before the work. Throws Error naming it.
  explicit Trace(std::string path);
  /// Writes the tokens of a session that records (SessionOptions::record). Throws Error when they cannot all
  /// be written. Once.
  void write(const Session& session, const Tokenizer& tokenizer);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  [[noreturn]] void fail_to_write() const;

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace miser::cli
