#include "gguf/printable.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/utf8.h"

namespace miser::gguf {
namespace {

/// Length of the well-formed character at the start of `text`, 0 when there is none.
std::size_t character_length(std::string_view text) {
  const std::size_t most = std::min<std::size_t>(text.size(), 4);
  for (std::size_t n = 1; n <= most; ++n) {
    const std::string_view head = text.substr(0, n);
    if (complete_utf8_prefix(head) == n) return replace_invalid_utf8(head) == head ? n : 0;
  }
  return 0;
}

/// C0, DEL, and the C1 controls U+0080 to U+009F.
bool is_control(std::string_view character) {
  const auto lead = static_cast<unsigned char>(character[0]);
  if (lead < 0x20 || lead == 0x7F) return true;
  return lead == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;
}

}  // namespace

std::string printable(std::string_view text, std::size_t max_bytes) {
  const std::size_t text_bytes = text.size();
  std::string out;
  while (!text.empty() && text_bytes - text.size() < max_bytes) {
    const std::size_t length = character_length(text);
    const std::string_view character = text.substr(0, std::max<std::size_t>(length, 1));
    if (length > 0 && !is_control(character)) {
      out += character;
    } else {
      for (const char c : character) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
    text.remove_prefix(character.size());
  }
  return text.empty() ? out : out + "...";
}

}  // namespace miser::gguf
