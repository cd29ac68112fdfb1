#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/output_file.h"

namespace miser {

/// The frame of a snapshot (docs/snapshot.md): a magic, a version, and sections, each with its length and a
/// hash of its bytes.
class SnapshotWriter {
 public:
  /// Throws Error like OutputFile, as all calls do.
  explicit SnapshotWriter(const std::string& path);
  void section(const ByteWriter& content);
  /// The file appears, complete.
  void commit() { file_.commit(); }

 private:
  OutputFile file_;
};

class SnapshotReader {
 public:
  /// `name` stands in messages; it and the bytes outlive the reader and its sections. Throws Error unless it
  /// is a snapshot of this version.
  SnapshotReader(std::span<const std::byte> bytes, std::string_view name);
  /// The next section, called `what` in messages. Throws Error when it is cut off or damaged.
  ByteReader section(std::string_view what);
  /// Throws Error unless the file ends here.
  void end() const;

 private:
  ByteReader in_;
};

/// Throws Error unless a section was read to its end.
void expect_end(const ByteReader& section, std::string_view what);

}  // namespace miser
