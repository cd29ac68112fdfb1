#include "base/utf8.h"

namespace miser {
namespace {

/// Bytes of the character that `lead` starts: 1 to 4, or 0 for a byte that starts none (RFC 3629).
std::size_t sequence_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

/// Whether `second` may follow `lead`: excludes overlong forms, surrogates and code points past U+10FFFF.
bool valid_second(unsigned char lead, unsigned char second) {
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  return second >= low && second <= high;
}

/// Number of leading bytes of `text` that are a well-formed beginning of one character.
std::size_t well_formed_bytes(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t length = sequence_length(lead);
  std::size_t i = 1;
  while (i < length && i < text.size()) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (i == 1 ? !valid_second(lead, byte) : (byte & 0xC0) != 0x80) break;
    ++i;
  }
  return length == 0 ? 0 : i;
}

}  // namespace

std::size_t complete_utf8_prefix(std::string_view text) {
  const std::size_t tail = text.size() < 3 ? text.size() : 3;
  for (std::size_t back = tail; back >= 1; --back) {
    const std::size_t at = text.size() - back;
    const std::size_t length = sequence_length(static_cast<unsigned char>(text[at]));
    if (length > back && well_formed_bytes(text.substr(at)) == back) return at;
  }
  return text.size();
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t good = well_formed_bytes(text);
    const bool whole = good > 0 && good == sequence_length(static_cast<unsigned char>(text[0]));
    if (whole) {
      out += text.substr(0, good);
    } else {
      out += "\xEF\xBF\xBD";
    }
    text.remove_prefix(good > 0 ? good : 1);
  }
  return out;
}

}  // namespace miser
