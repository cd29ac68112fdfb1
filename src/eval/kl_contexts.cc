#include "eval/kl_contexts.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/utf8.h"

namespace miser::eval {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30U;  // stops endless devices

struct CloseGzip {
  void operator()(gzFile file) const { gzclose(file); }
};
using Gzip = std::unique_ptr<gzFile_s, CloseGzip>;

std::string read_bytes(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) fail("{}: is a folder, expected a text file", path);
  errno = 0;
  const Gzip file(gzopen(path.c_str(), "rb"));
  if (!file) fail("{}: cannot be opened: {}", path, std::strerror(errno));
  std::string text;
  std::string buffer(std::size_t{1} << 18U, '\0');
  int n = 0;
  while ((n = gzread(file.get(), buffer.data(), static_cast<unsigned>(buffer.size()))) > 0) {
    text.append(buffer, 0, static_cast<std::size_t>(n));
    if (text.size() > kMaxTextBytes) fail("{}: found more than {} bytes of text", path, kMaxTextBytes);
  }
  int code = Z_OK;
  const char* message = gzerror(file.get(), &code);
  if (code == Z_ERRNO) message = std::strerror(errno);
  if (code != Z_OK && code != Z_STREAM_END) fail("{}: cannot be read: {}", path, message);
  return text;
}

/// Keeps `limit` of `contexts.available` contexts; load(i) gives the tokens of one.
template <class Load>
void select(Contexts& contexts, std::size_t limit, const Tokenizer& tokenizer, const Load& load) {
  const std::size_t n = limit == 0 ? contexts.available : std::min(limit, contexts.available);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t source = i * contexts.available / n;
    contexts.source.push_back(source);
    const auto ids = load(source);
    contexts.tokens.insert(contexts.tokens.end(), ids.begin(), ids.end());
    if (tokenizer.adds_bos() && tokenizer.bos()) contexts.tokens[i * contexts.length] = *tokenizer.bos();
  }
}

}  // namespace

std::string read_text(const std::string& path) {
  std::string text = read_bytes(path);
  if (text.empty()) fail("{}: is empty, expected text", path);
  const std::string valid = replace_invalid_utf8(text);
  const auto wrong = std::mismatch(text.begin(), text.end(), valid.begin(), valid.end()).first;
  if (wrong != text.end()) {
    const auto line = 1 + std::count(text.begin(), wrong, '\n');
    fail("{}:{}: found byte 0x{:02x}, expected UTF-8", path, line, static_cast<unsigned char>(*wrong));
  }
  return text;
}

Contexts read_contexts(const std::vector<std::string>& paths, const Tokenizer& tokenizer, std::size_t length,
                       std::size_t limit) {
  Contexts contexts;
  contexts.length = length;
  std::vector<Token> all;
  for (const std::string& path : paths) {
    const auto ids = tokenizer.encode(read_text(path), {.add_special = true, .parse_special = false});
    if (ids.size() < length)
      fail("{}: found {} tokens, expected at least one context of {} (--context)", path, ids.size(), length);
    const std::size_t n = ids.size() / length;
    all.insert(all.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n * length));
    contexts.available += n;
  }
  select(contexts, limit, tokenizer,
         [&](std::size_t i) { return std::span(all).subspan(i * length, length); });
  return contexts;
}

Contexts read_contexts(const LogitsFile& file, const Tokenizer& tokenizer, std::size_t limit) {
  Contexts contexts;
  contexts.length = file.context();
  contexts.available = file.n_contexts();
  select(contexts, limit, tokenizer, [&](std::size_t i) { return file.tokens(i); });
  return contexts;
}

}  // namespace miser::eval
