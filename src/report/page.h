#pragma once
#include <string_view>

namespace miser::report {

/// page.html with its styles and scripts; kDataMark stands where the data belong.
std::string_view page_template();
inline constexpr std::string_view kDataMark = "@DATA@";

/// The text that a report shows unless the user brings one.
std::string_view sample_text();

}  // namespace miser::report
