#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace miser {

/// Length of the longest prefix of `text` that does not end inside a UTF-8 character. Bytes that can never
/// become a character (stray continuation bytes, bad leads) count as complete.
std::size_t complete_utf8_prefix(std::string_view text);

/// `text` with every malformed byte replaced by U+FFFD, for JSON and other places that insist on UTF-8.
std::string replace_invalid_utf8(std::string_view text);

}  // namespace miser
