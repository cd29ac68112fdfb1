#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace miser {

/// Length of the first character of `text`; 1 for a byte that begins no well-formed one. REQUIRES: `text` is
/// not empty.
std::size_t first_character(std::string_view text);

/// The printable character (UTF-8) that stands for `byte` in byte-level BPE vocabularies: bytes that are
/// printable in Latin-1 stand for themselves, the others for U+0100 and up in order (GPT-2's
/// `bytes_to_unicode`). 0x20 is "Ġ".
std::string byte_to_text(std::uint8_t byte);
/// The bytes that `text` stands for. Characters that stand for no byte are kept as they are.
std::string text_to_bytes(std::string_view text);

/// The byte that a token text like "<0x0A>" names.
std::optional<std::uint8_t> parse_byte_token(std::string_view text);

}  // namespace miser
