#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/error.h"
#include "gguf/file.h"
#include "gguf/printable.h"

namespace miser::test {

/// Throws std::logic_error when a parsed file breaks what gguf::File promises: a defect of the parser.
inline void require(bool promise, const char* what) {
  if (!promise) throw std::logic_error(what);
}

inline void require_inside(std::span<const std::byte> file, const void* data, std::uint64_t size) {
  const auto* first = static_cast<const std::byte*>(data);
  const std::less_equal<> before;
  require(size == 0 || (before(file.data(), first) && before(first + size, file.data() + file.size())),
          "span outside the file");
}

/// Every typed look-up of `key`: each gives a value or Error. Returns how many gave a value.
inline int count_lookups(const gguf::File& file, std::string_view key) {
  int n = 0;
  const auto attempt = [&n](auto lookup) {
    try {
      lookup();
      ++n;
    } catch (const Error&) {
    }
  };
  attempt([&] { file.find_uint(key).value(); });
  attempt([&] { file.find_number(key).value(); });
  attempt([&] { file.find_bool(key).value(); });
  attempt([&] { file.find_string(key).value(); });
  attempt([&] { require(file.find_strings(key) != nullptr, "key not found"); });
  attempt([&] { file.find_floats(key).value(); });
  attempt([&] { file.find_ints(key).value(); });
  return n;
}

inline void walk_array(std::span<const std::byte> bytes, const gguf::Array& array) {
  require_inside(bytes, array.data.data(), array.data.size());
  for (const std::string_view text : array.strings) require_inside(bytes, text.data(), text.size());
  for (std::uint64_t i = 0; i < std::min<std::uint64_t>(array.size, 16); ++i) array_element(array, i);
  if (array.size > 0) array_element(array, array.size - 1);
}

inline void walk_tensor(std::span<const std::byte> bytes, const gguf::File& file,
                        const gguf::Tensor& tensor) {
  require_inside(bytes, tensor.data.data(), tensor.data.size());
  require(file.find_tensor(tensor.name) == &tensor, "tensor is not found by its name");
  const gguf::TensorFormat& format = *tensor.format;
  const std::uint64_t n_blocks = tensor.data.size() / format.block_bytes;
  require(n_blocks * format.block_elements == tensor.rows() * tensor.cols(), "blocks do not make the shape");
  const std::uint64_t n_unpacked = std::min<std::uint64_t>(n_blocks, 4);
  std::vector<float> values(n_unpacked * format.block_elements);
  format.unpack(tensor.data.data(), n_unpacked, values.data());
}

/// Touches all that a file offers: names, values by every look-up, array elements, first blocks of tensors.
/// Throws std::logic_error when something is not as gguf::File promises.
inline void walk(std::span<const std::byte> bytes, const gguf::File& file) {
  for (const auto& [key, value] : file.metadata()) {
    require_inside(bytes, key.data(), key.size());
    require(gguf::printable(key).size() <= std::size_t{4} * (64 + 4), "printable text too long");
    const auto* array = std::get_if<gguf::Array>(&value);
    // Only an array of bools has no typed look-up.
    require(count_lookups(file, key) > 0 || array != nullptr, "no look-up gives the value");
    if (array != nullptr) walk_array(bytes, *array);
  }
  // find_tensor is linear; a hostile table of thousands must not make the walk quadratic.
  const std::size_t n_tensors = std::min<std::size_t>(file.tensors().size(), 256);
  for (const gguf::Tensor& tensor : file.tensors().first(n_tensors)) walk_tensor(bytes, file, tensor);
}

}  // namespace miser::test
