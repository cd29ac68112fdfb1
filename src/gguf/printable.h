#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace miser::gguf {

/// `text` for a message or a terminal: control characters and malformed UTF-8 as \xNN, and after about
/// `max_bytes` bytes cut at a character with "..." behind. A file can thus neither flood nor steer the
/// terminal.
std::string printable(std::string_view text, std::size_t max_bytes = 64);

}  // namespace miser::gguf
