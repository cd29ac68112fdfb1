#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace miser::eval {

// Text as Python's str methods treat it, because the prompts of lm-evaluation-harness are made by them. All
// strings are UTF-8.

/// str.strip(): without white space at both ends.
std::string_view strip(std::string_view text);
/// str.rstrip().
std::string_view rstrip(std::string_view text);
/// str.capitalize() for ASCII letters: the first in upper case, all others in lower case; other characters
/// stay.
std::string capitalize(std::string_view text);
/// len(): code points.
std::size_t length(std::string_view text);

/// The clean-up of WikiHow markup in HellaSwag: strip, " [title]" becomes ". ", other brackets go with what
/// is in them, and then double spaces become single ones.
std::string clean_hellaswag(std::string_view text);

}  // namespace miser::eval
