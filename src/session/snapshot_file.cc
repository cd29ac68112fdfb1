#include "session/snapshot_file.h"

#include <algorithm>
#include <cstdint>

#include "base/hash.h"

namespace miser {
namespace {

constexpr std::string_view kMagic = "miser kv";
constexpr std::uint32_t kVersion = 1;

std::uint64_t hash_of(std::span<const std::byte> bytes) {
  Hash hash;
  hash.add(bytes);
  return hash.value();
}

}  // namespace

SnapshotWriter::SnapshotWriter(const std::string& path) : file_(path) {
  ByteWriter head;
  head.put_all(std::span(kMagic));
  head.put(kVersion);
  file_.write(head.bytes());
}

void SnapshotWriter::section(const ByteWriter& content) {
  ByteWriter head;
  head.put(static_cast<std::uint64_t>(content.bytes().size()));
  head.put(hash_of(content.bytes()));
  file_.write(head.bytes());
  file_.write(content.bytes());
}

SnapshotReader::SnapshotReader(std::span<const std::byte> bytes, std::string_view name) : in_(bytes, name) {
  const bool has_head = bytes.size() >= kMagic.size();
  const auto magic = in_.take(has_head ? kMagic.size() : 0, "magic");
  if (!has_head || !std::ranges::equal(magic, std::as_bytes(std::span(kMagic))))
    fail("{}: is no snapshot of a KV cache", name);
  const auto version = in_.get<std::uint32_t>("version");
  if (version != kVersion) in_.refuse("version", version, fmt::format("{}", kVersion));
}

ByteReader SnapshotReader::section(std::string_view what) {
  const auto size = in_.get<std::uint64_t>(what);
  const auto hash = in_.get<std::uint64_t>(what);
  const auto bytes = in_.take(size, what);
  if (hash_of(bytes) != hash) fail("{}: {}: the file is damaged: its checksum is wrong", in_.name(), what);
  return {bytes, in_.name()};
}

void SnapshotReader::end() const {
  expect_end(in_, "file");
}

void expect_end(const ByteReader& section, std::string_view what) {
  if (section.left() != 0) section.refuse(what, fmt::format("{} more bytes", section.left()), "its end");
}

}  // namespace miser
