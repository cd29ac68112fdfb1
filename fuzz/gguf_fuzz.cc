// Parses any bytes as GGUF and touches all that the file then offers. What is neither read nor refused by
// Error is a defect: a crash, a hang, a sanitizer report, another exception, or an allocation past
// -malloc_limit_mb.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "gguf/file.h"
#include "gguf_walk.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer names it
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    miser::test::walk(bytes, miser::gguf::File::parse(bytes, "fuzz.gguf"));
  } catch (const miser::Error&) {
  }
  return 0;
}
