#pragma once
#include <string>
#include <string_view>

namespace miser::cli {

/// Throws Error when standard output is closed, and gives a closed standard input or error to /dev/null: a
/// file that is opened later would take its place and receive what is printed. Call it before any file is
/// opened.
void require_standard_output();

/// Throws Error now where this file could not be written at the end of long work.
void require_writable(const std::string& path);

/// Writes to standard output at once. Throws Error when it is gone or full.
void write_output(std::string_view text);

/// Prints to standard error; whether anybody reads it is not our concern.
void note(const std::string& text);

/// Replaces the status line of long work ("loading ..."); empty text removes it. Nothing when standard error
/// is no terminal.
void show_status(std::string_view text);

}  // namespace miser::cli
