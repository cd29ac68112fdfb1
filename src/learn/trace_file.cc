#include "learn/trace_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/output_file.h"
#include "gguf/load.h"

namespace miser::learn {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::array<char, 8> kMagic = {'m', 'i', 's', 'e', 'r', 't', 'r', 'c'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kFields = 11;
constexpr std::size_t kHeadBytes =
    kMagic.size() + 2 * sizeof(std::uint32_t) + kFields * sizeof(std::uint64_t);
constexpr std::uint32_t kMaxSource = 1U << 20U;

/// Calls f(name, value, least, most). The limits are far beyond use and keep products within 64 bits.
template <class AnyTrace, class F>
void for_each_field(AnyTrace& t, F f) {
  f("n_layers", t.n_layers, 1U, 1U << 10U);
  f("n_heads", t.n_heads, 1U, 1U << 10U);
  f("n_kv_heads", t.n_kv_heads, 1U, 1U << 10U);
  f("head_dim", t.head_dim, 1U, 1U << 12U);
  f("length", t.length, 1U, 1U << 20U);
  f("first", t.first, 0U, 1U << 20U);
  f("n", t.n, 1U, 1U << 20U);
  f("window", t.window, 0U, 1U << 20U);
  f("block", t.block, 1U, 1U << 20U);
  f("n_samples", t.n_samples, 1U, 1U << 20U);
  f("seed", t.seed, 0U, ~std::uint64_t{0});
}

/// Calls f(name, vector, size).
template <class AnyTrace, class F>
void for_each_array(AnyTrace& t, F f) {
  const std::size_t rows = t.n_layers * t.n;
  const std::size_t vectors = rows * t.n_kv_heads;
  f("ids", t.ids, t.length);
  f("received", t.received, rows * t.n_heads);
  f("received_sq", t.received_sq, vectors);
  f("received_max", t.received_max, vectors);
  f("k", t.k, vectors * t.head_dim);
  f("v", t.v, vectors * t.head_dim);
  f("token_signals", t.token_signals, 4 * t.n);
  f("fisher", t.fisher, 2 * vectors);
  f("future", t.future, t.n);
}

/// The head of a mapped file, checked against the file's length.
struct Head {
  Head(const std::string& path, std::span<const std::byte> bytes);

  Trace sizes;
  std::string source;
};

Head::Head(const std::string& path, std::span<const std::byte> bytes) {
  if (bytes.size() < kHeadBytes || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0)
    fail("{}: is no trace of miser", path);
  const auto version = gguf::load<std::uint32_t>(bytes.data() + kMagic.size());
  if (version != kVersion) fail("{}: version: found {}, expected {}", path, version, kVersion);
  const auto source_bytes = gguf::load<std::uint32_t>(bytes.data() + kMagic.size() + sizeof(version));
  if (source_bytes > kMaxSource)
    fail("{}: source: found {} bytes, expected at most {}", path, source_bytes, kMaxSource);
  const std::byte* at = bytes.data() + kMagic.size() + 2 * sizeof(std::uint32_t);
  for_each_field(sizes, [&](const char* name, auto& value, std::uint64_t least, std::uint64_t most) {
    const auto found = gguf::load<std::uint64_t>(at);
    if (found < least || found > most)
      fail("{}: {}: found {}, expected {} to {}", path, name, found, least, most);
    value = found;
    at += sizeof(found);
  });
  if (sizes.n_heads % sizes.n_kv_heads != 0)
    fail("{}: n_heads: found {}, expected a multiple of the {} KV heads", path, sizes.n_heads,
         sizes.n_kv_heads);
  if (sizes.first + sizes.n > sizes.length)
    fail("{}: n: found {} tokens from {} on, expected at most {}", path, sizes.n, sizes.first, sizes.length);
  std::size_t expected = kHeadBytes + source_bytes;
  for_each_array(
      sizes, [&](const char*, const auto& array, std::size_t size) { expected += size * sizeof(array[0]); });
  if (bytes.size() != expected) fail("{}: found {} bytes, expected {}", path, bytes.size(), expected);
  source.assign(reinterpret_cast<const char*>(at), source_bytes);
}

}  // namespace

void write_trace(const std::string& path, const Trace& trace, const std::string& source) {
  OutputFile file(path);
  const auto write = [&](const auto& values) { file.write(std::as_bytes(std::span(values))); };
  write(kMagic);
  write(std::array{kVersion, static_cast<std::uint32_t>(source.size())});
  for_each_field(trace, [&](const char*, std::uint64_t value, std::uint64_t, std::uint64_t) {
    write(std::array{value});
  });
  write(source);
  for_each_array(trace, [&](const char*, const auto& array, std::size_t) { write(array); });
  file.commit();
}

StoredTrace read_trace(const std::string& path) {
  const MappedFile file(path);
  Head head(path, file.bytes());
  StoredTrace stored{std::move(head.sizes), std::move(head.source)};
  const std::byte* at = file.bytes().data() + kHeadBytes + stored.source.size();
  for_each_array(stored.trace, [&](const char* name, auto& array, std::size_t size) {
    array.resize(size);
    std::memcpy(array.data(), at, size * sizeof(array[0]));
    at += size * sizeof(array[0]);
    if constexpr (std::is_same_v<decltype(array), std::vector<float>&>) {
      const auto bad = std::find_if(array.begin(), array.end(), [](float x) { return !std::isfinite(x); });
      if (bad != array.end())
        fail("{}: {}[{}]: found {}, expected a finite number", path, name, bad - array.begin(), *bad);
    }
  });
  return stored;
}

std::string read_trace_source(const std::string& path) {
  const MappedFile file(path);
  return Head(path, file.bytes()).source;
}

}  // namespace miser::learn
