#include "gguf/writer.h"

#include <algorithm>
#include <cassert>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/output_file.h"
#include "gguf/value_type.h"

namespace miser::gguf {
namespace {

constexpr std::uint32_t kMagicBytes = 0x46554747;  // "GGUF"
constexpr std::uint32_t kVersion = 3;
constexpr std::uint64_t kAlignment = 32;  // the format's default, which needs no metadata entry
constexpr std::size_t kChunkBytes = std::size_t{1} << 20U;

constexpr std::uint64_t padding(std::uint64_t size) {
  return (kAlignment - size % kAlignment) % kAlignment;
}

}  // namespace

template <typename T>
void Writer::put(std::vector<std::byte>& to, T value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void Writer::put_string(std::vector<std::byte>& to, std::string_view text) {
  put(to, std::uint64_t{text.size()});
  const auto bytes = std::as_bytes(std::span(text));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void Writer::add_key(std::string_view key, std::uint32_t type) {
  ++n_entries_;
  put_string(entries_, key);
  put(entries_, type);
}

void Writer::add(std::string_view key, const Value& value) {
  add_key(key, static_cast<std::uint32_t>(value.index()));
  std::visit(
      [&]<typename T>(const T& v) {
        if constexpr (std::is_same_v<T, std::string_view>) {
          put_string(entries_, v);
        } else if constexpr (std::is_same_v<T, Array>) {
          put(entries_, v.element_type);
          put(entries_, v.size);
          for (const std::string_view text : v.strings) put_string(entries_, text);
          entries_.insert(entries_.end(), v.data.begin(), v.data.end());
        } else {
          put(entries_, v);
        }
      },
      value);
}

void Writer::add_strings(std::string_view key, std::span<const std::string> values) {
  add(key, Array{kString, values.size(), {}, {values.begin(), values.end()}});
}

void Writer::add_ints(std::string_view key, std::span<const std::int32_t> values) {
  constexpr std::uint32_t kInt32 = 5;
  add(key, Array{kInt32, values.size(), std::as_bytes(values), {}});
}

void Writer::add_tensor(std::string_view name, std::span<const std::uint64_t> shape, TensorType type,
                        Fill fill) {
  const TensorFormat& format = *find_format(type);
  assert(!shape.empty() && shape[0] % format.block_elements == 0);
  put_string(infos_, name);
  put(infos_, static_cast<std::uint32_t>(shape.size()));
  std::uint64_t elements = 1;
  for (const std::uint64_t size : shape) {
    put(infos_, size);
    elements *= size;
  }
  put(infos_, type);
  put(infos_, offset_);
  const std::uint64_t bytes = elements / format.block_elements * format.block_bytes;
  offset_ += bytes + padding(bytes);
  sources_.push_back({bytes, format.block_bytes, std::move(fill)});
}

void Writer::add_floats(std::string_view name, std::span<const std::uint64_t> shape,
                        std::span<const float> values) {
  const auto source = std::as_bytes(values);
  add_tensor(name, shape, TensorType::kF32,
             [copy = std::vector(source.begin(), source.end()), at = std::size_t{0}](auto blocks) mutable {
               std::copy_n(copy.begin() + static_cast<std::ptrdiff_t>(at), blocks.size(), blocks.begin());
               at = (at + blocks.size()) % copy.size();
             });
}

void Writer::write(const std::string& path) const {
  std::vector<std::byte> head;
  put(head, kMagicBytes);
  put(head, kVersion);
  put(head, std::uint64_t{sources_.size()});
  put(head, n_entries_);
  head.insert(head.end(), entries_.begin(), entries_.end());
  head.insert(head.end(), infos_.begin(), infos_.end());
  head.resize(head.size() + padding(head.size()));

  OutputFile file(path);
  file.write(head);
  std::vector<std::byte> chunk;
  for (const Source& source : sources_) {
    const std::uint64_t most = kChunkBytes / source.block_bytes * source.block_bytes;
    for (std::uint64_t left = source.bytes; left > 0; left -= chunk.size()) {
      chunk.resize(std::min(left, most));
      source.fill(chunk);
      file.write(chunk);
    }
    file.write(std::vector<std::byte>(padding(source.bytes)));
  }
  file.commit();
}

}  // namespace miser::gguf
