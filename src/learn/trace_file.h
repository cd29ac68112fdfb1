#pragma once
#include <string>

#include "learn/trace.h"

namespace miser::learn {

/// One trace in one file, so that tracing can be stopped and resumed and the traces of a text need not be
/// held together: a head of eight bytes `misertrc`, a version and the length of the source as uint32, the
/// sizes of the trace as eleven uint64 in the order of the struct, and the source; then the arrays of the
/// struct in its order. Little-endian, no padding.
///
/// `source` is a line of the caller's that says what was traced and how (model, text, options).
/// The file appears under `path` when it is complete. Throws Error naming the file when it cannot be written.
void write_trace(const std::string& path, const Trace& trace, const std::string& source);

struct StoredTrace {
  Trace trace;
  std::string source;
};

/// Throws Error naming file, field, found and expected for a file that is no trace, of another version, of
/// impossible sizes, not exactly as long as its sizes say, or with numbers that are not finite.
StoredTrace read_trace(const std::string& path);

/// The source alone, from the head of the file; the same errors but for numbers.
std::string read_trace_source(const std::string& path);

}  // namespace miser::learn
