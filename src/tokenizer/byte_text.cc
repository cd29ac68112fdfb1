#include "tokenizer/byte_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <system_error>

namespace miser {
namespace {

constexpr int kFirstStandIn = 0x100;
constexpr int kNumStandIns = 68;  ///< bytes that are not printable in Latin-1

bool is_printable(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/// Code point that stands for each byte.
std::array<int, 256> make_stand_ins() {
  std::array<int, 256> code_points{};
  int next = kFirstStandIn;
  for (int byte = 0; byte < 256; ++byte) {
    code_points[static_cast<std::size_t>(byte)] = is_printable(byte) ? byte : next++;
  }
  return code_points;
}

const std::array<int, 256>& stand_ins() {
  static const std::array<int, 256> table = make_stand_ins();
  return table;
}

/// The byte that each code point below 0x144 stands for, or -1.
const std::array<int, kFirstStandIn + kNumStandIns>& bytes_by_code_point() {
  static const auto table = [] {
    std::array<int, kFirstStandIn + kNumStandIns> bytes{};
    bytes.fill(-1);
    for (int byte = 0; byte < 256; ++byte) {
      bytes[static_cast<std::size_t>(stand_ins()[static_cast<std::size_t>(byte)])] = byte;
    }
    return bytes;
  }();
  return table;
}

/// The byte that the character stands for, or -1. All stand-ins have one or two bytes.
int byte_of(std::string_view character) {
  const auto lead = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return lead < 0x80 ? bytes_by_code_point()[lead] : -1;
  if (character.size() != 2) return -1;
  const auto second = static_cast<unsigned char>(character[1]);
  const auto code_point = static_cast<std::size_t>((lead & 0x1F) << 6 | (second & 0x3F));
  const bool known = (second & 0xC0) == 0x80 && code_point < bytes_by_code_point().size();
  return known ? bytes_by_code_point()[code_point] : -1;
}

}  // namespace

// Overlong forms and surrogates pass: no harm is done when they stay together.
std::size_t first_character(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
  if (length > text.size()) return 1;
  const bool whole = std::all_of(text.begin() + 1, text.begin() + static_cast<std::ptrdiff_t>(length),
                                 [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; });
  return whole ? length : 1;
}

std::string byte_to_text(std::uint8_t byte) {
  const int code_point = stand_ins()[byte];
  if (code_point < 0x80) return {static_cast<char>(code_point)};
  return {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3F))};
}

std::string text_to_bytes(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const std::string_view character = text.substr(0, first_character(text));
    const int byte = byte_of(character);
    if (byte >= 0) {
      bytes += static_cast<char>(byte);
    } else {
      bytes += character;
    }
    text.remove_prefix(character.size());
  }
  return bytes;
}

std::optional<std::uint8_t> parse_byte_token(std::string_view text) {
  constexpr std::size_t kLength = 6;  // "<0x0A>"
  if (text.size() != kLength || !text.starts_with("<0x") || text.back() != '>') return std::nullopt;
  std::uint8_t byte = 0;
  const char* const end = text.data() + kLength - 1;
  const auto [stop, error] = std::from_chars(text.data() + 3, end, byte, 16);
  if (error != std::errc() || stop != end) return std::nullopt;
  return byte;
}

}  // namespace miser
