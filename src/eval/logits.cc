#include "eval/logits.h"

#include <cassert>
#include <cmath>
#include <cstring>
#include <string_view>

#include "base/error.h"

namespace miser::eval {
namespace {

constexpr std::string_view kMagic = "_logits_";
constexpr std::size_t kHeaderBytes = 20;  // magic and three counts

template <typename T>
T load(std::span<const std::byte> bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

}  // namespace

LogitsFile::LogitsFile(const std::string& path) : file_(path), path_(path) {
  const auto bytes = file_.bytes();
  if (bytes.size() < kHeaderBytes || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0)
    fail("{}: no file of reference logits: it does not begin with {} and three counts", path, kMagic);
  context_ = count(8, "n_ctx", 3);
  n_vocab_ = count(12, "n_vocab", 1);
  n_contexts_ = count(16, "n_chunk", 1);
  // Counts are below 2^31, so a context's bytes are below 2^64, but those of all contexts may not be.
  const std::size_t rows = context_ - 1 - first_scored();
  const std::size_t each = 4 * context_ + rows * row_bytes();
  const std::size_t found = bytes.size() - kHeaderBytes;
  if (found % each != 0 || found / each != n_contexts_) {
    fail("{}: found {} bytes after the counts, expected {} contexts of {} bytes", path, found, n_contexts_,
         each);
  }
  rows_at_ = kHeaderBytes + 4 * n_contexts_ * context_;
  for (std::size_t i = 0; i < n_contexts_ * context_; ++i) {
    const auto id = load<std::int32_t>(bytes, kHeaderBytes + 4 * i);
    if (id < 0 || static_cast<std::size_t>(id) >= n_vocab_)
      fail("{}: token {} is {}, expected an id below {}", path, i, id, n_vocab_);
  }
}

std::size_t LogitsFile::count(std::size_t offset, const char* field, std::size_t low) const {
  const auto value = load<std::int32_t>(file_.bytes(), offset);
  if (value < static_cast<std::int32_t>(low))
    fail("{}: {} is {}, expected at least {}", path_, field, value, low);
  return static_cast<std::size_t>(value);
}

std::vector<std::int32_t> LogitsFile::tokens(std::size_t index) const {
  std::vector<std::int32_t> ids(context_);
  std::memcpy(ids.data(), file_.bytes().data() + kHeaderBytes + 4 * index * context_, 4 * context_);
  return ids;
}

void LogitsFile::read_row(std::size_t index, std::size_t position, std::span<float> out) const {
  assert(index < n_contexts_ && position >= first_scored() && position + 1 < context_);
  assert(out.size() == n_vocab_);
  const std::size_t row = index * (context_ - 1 - first_scored()) + position - first_scored();
  const auto bytes = file_.bytes().subspan(rows_at_ + row * row_bytes(), row_bytes());
  const auto scale = load<float>(bytes, 0);
  const auto min = load<float>(bytes, 4);
  if (!std::isfinite(scale) || !std::isfinite(min) || scale < 0 || min > 0) {
    fail("{}: context {}, position {}: found scale {} and minimum {}, expected finite numbers, >= 0 and <= 0",
         path_, index, position, scale, min);
  }
  for (std::size_t i = 0; i < n_vocab_; ++i)
    out[i] = scale * static_cast<float>(load<std::uint16_t>(bytes, 8 + 2 * i)) + min;
}

}  // namespace miser::eval
