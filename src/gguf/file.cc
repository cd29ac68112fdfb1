#include "gguf/file.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "gguf/load.h"
#include "gguf/parser.h"
#include "gguf/printable.h"
#include "gguf/value_type.h"

namespace miser::gguf {
namespace {

template <typename T>
constexpr bool kIsInteger = std::is_integral_v<T> && !std::is_same_v<T, bool>;
template <typename T>
constexpr bool kIsNumber = std::is_arithmetic_v<T> && !std::is_same_v<T, bool>;

[[noreturn]] void fail_type(const File& file, std::string_view key, const Value& found,
                            std::string_view expected) {
  file.fail(fmt::format("key {}: type is {}, expected {}", printable(key), type_name(found), expected));
}

/// Calls `f` with each element of an array of numbers, in its own type; returns false when `value` is none.
template <typename F>
bool for_each_number(const Value& value, F&& f) {
  const auto* const array = std::get_if<Array>(&value);
  if (array == nullptr) return false;
  bool numeric = false;
  visit_scalar_type(array->element_type, [&]<typename T>(std::type_identity<T>) {
    if constexpr (kIsNumber<T>) {
      numeric = true;
      for (std::uint64_t i = 0; i < array->size; ++i) f(load<T>(array->data.data() + i * sizeof(T)));
    }
  });
  return numeric;
}

}  // namespace

std::uint64_t Tensor::rows() const {
  if (shape.empty()) return 1;
  return std::accumulate(shape.begin() + 1, shape.end(), std::uint64_t{1}, std::multiplies<>());
}

std::string type_name(const Value& value) {
  const auto* const array = std::get_if<Array>(&value);
  if (array == nullptr) return std::string(kValueTypeNames[value.index()]);
  return fmt::format("array of {}", kValueTypeNames[array->element_type]);
}

Value array_element(const Array& array, std::uint64_t i) {
  if (array.element_type == kString) return array.strings[i];
  Value value;
  visit_scalar_type(array.element_type, [&]<typename T>(std::type_identity<T>) {
    const std::byte* const at = array.data.data() + i * sizeof(T);
    if constexpr (std::is_same_v<T, bool>) {
      value = *at != std::byte{0};
    } else {
      value = load<T>(at);
    }
  });
  return value;
}

File File::open(const std::string& path) {
  MappedFile mapping(path);
  File file = parse(mapping.bytes(), path);
  file.mapping_ = std::move(mapping);
  return file;
}

File File::parse(std::span<const std::byte> bytes, std::string name) {
  return Parser(bytes, std::move(name)).parse();
}

void File::fail(const std::string& what) const {
  miser::fail("{}: {}", name_, what);
}

const Value* File::find(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

const Tensor* File::find_tensor(std::string_view tensor_name) const {
  const auto found = std::ranges::find(tensors_, tensor_name, &Tensor::name);
  return found == tensors_.end() ? nullptr : &*found;
}

std::optional<std::uint64_t> File::find_uint(std::string_view key) const {
  const Value* const found = find(key);
  if (found == nullptr) return {};
  return std::visit(
      [&]<typename T>(const T& value) -> std::uint64_t {
        if constexpr (kIsInteger<T>) {
          if (std::in_range<std::uint64_t>(value)) return static_cast<std::uint64_t>(value);
          fail(fmt::format("key {}: value is {}, expected at least 0", printable(key), value));
        } else {
          fail_type(*this, key, *found, "an integer");
        }
      },
      *found);
}

std::optional<double> File::find_number(std::string_view key) const {
  const Value* const found = find(key);
  if (found == nullptr) return {};
  return std::visit(
      [&]<typename T>(const T& value) -> double {
        if constexpr (kIsNumber<T>) {
          return static_cast<double>(value);
        } else {
          fail_type(*this, key, *found, "a number");
        }
      },
      *found);
}

std::optional<bool> File::find_bool(std::string_view key) const {
  const Value* const found = find(key);
  if (found == nullptr) return {};
  const bool* const value = std::get_if<bool>(found);
  if (value == nullptr) fail_type(*this, key, *found, "bool");
  return *value;
}

std::optional<std::string_view> File::find_string(std::string_view key) const {
  const Value* const found = find(key);
  if (found == nullptr) return {};
  const auto* const value = std::get_if<std::string_view>(found);
  if (value == nullptr) fail_type(*this, key, *found, "string");
  return *value;
}

const std::vector<std::string_view>* File::find_strings(std::string_view key) const {
  const Value* const found = find(key);
  if (found == nullptr) return nullptr;
  const auto* const array = std::get_if<Array>(found);
  if (array == nullptr || array->element_type != kString) fail_type(*this, key, *found, "array of string");
  return &array->strings;
}

std::optional<std::vector<float>> File::find_floats(std::string_view key) const {
  const Value* const found = find(key);
  if (found == nullptr) return {};
  std::vector<float> out;
  const auto append = [&](auto value) { out.push_back(static_cast<float>(value)); };
  if (!for_each_number(*found, append)) fail_type(*this, key, *found, "array of numbers");
  return out;
}

std::optional<std::vector<std::int64_t>> File::find_ints(std::string_view key) const {
  const Value* const found = find(key);
  if (found == nullptr) return {};
  std::vector<std::int64_t> out;
  const auto append = [&]<typename T>(T value) {
    if constexpr (kIsInteger<T>) {
      if (!std::in_range<std::int64_t>(value)) {
        fail(fmt::format("key {}: element {} is {}, expected at most 2^63 - 1", printable(key), out.size(),
                         value));
      }
      out.push_back(static_cast<std::int64_t>(value));
    } else {
      fail_type(*this, key, *found, "array of integers");
    }
  };
  if (!for_each_number(*found, append)) fail_type(*this, key, *found, "array of integers");
  return out;
}

}  // namespace miser::gguf
