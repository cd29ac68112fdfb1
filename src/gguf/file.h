#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/mapped_file.h"
#include "gguf/tensor_type.h"

namespace miser::gguf {

struct Array;

/// A metadata value. Strings and arrays view the mapped file; they live as long as the File.
using Value =
    std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, float,
                 bool, std::string_view, Array, std::uint64_t, std::int64_t, double>;

/// A homogeneous array. Elements of one size are left in the file; strings are located once.
struct Array {
  std::uint32_t element_type = 0;         ///< GGUF value type number
  std::uint64_t size = 0;                 ///< number of elements
  std::span<const std::byte> data;        ///< packed elements, unaligned; empty for strings
  std::vector<std::string_view> strings;  ///< only for arrays of strings
};

/// "u32", "array of string": what messages and listings call the type.
std::string type_name(const Value& value);
/// Element i as a Value of the array's type. REQUIRES: i < array.size.
Value array_element(const Array& array, std::uint64_t i);

struct Tensor {
  std::string_view name;
  std::vector<std::uint64_t> shape;  ///< GGUF order: shape[0] is the row length and varies fastest
  const TensorFormat* format = nullptr;
  std::span<const std::byte> data;  ///< exactly the tensor's bytes

  std::uint64_t cols() const { return shape.empty() ? 1 : shape[0]; }
  /// Product of all dimensions but the first.
  std::uint64_t rows() const;
};

/// A parsed GGUF v2 or v3 file (docs/gguf.md draws it and lists the limits). Every length, offset, count and
/// dimension is checked against the file before it is used; nothing is allocated on the word of the file
/// alone.
class File {
 public:
  /// Maps and parses `path`. Throws Error with "path: field: found X, expected Y".
  static File open(const std::string& path);
  /// Parses bytes that outlive the File; `name` stands in messages where the path would.
  static File parse(std::span<const std::byte> bytes, std::string name);

  const std::string& name() const { return name_; }
  std::uint32_t version() const { return version_; }
  std::uint32_t alignment() const { return alignment_; }
  const std::map<std::string_view, Value>& metadata() const { return metadata_; }
  std::span<const Tensor> tensors() const { return tensors_; }

  const Value* find(std::string_view key) const;
  /// nullptr when there is no such tensor.
  const Tensor* find_tensor(std::string_view tensor_name) const;

  // Typed lookups: nullopt when the key is missing, Error when it has another type. Any integer type that
  // can hold the value is accepted for uint; any float or integer for number.
  std::optional<std::uint64_t> find_uint(std::string_view key) const;
  std::optional<double> find_number(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<std::string_view> find_string(std::string_view key) const;
  /// Array of strings; nullptr when missing.
  const std::vector<std::string_view>* find_strings(std::string_view key) const;
  /// Arrays of floats or of integers, copied out.
  std::optional<std::vector<float>> find_floats(std::string_view key) const;
  std::optional<std::vector<std::int64_t>> find_ints(std::string_view key) const;

  /// Throws Error "name: what".
  [[noreturn]] void fail(const std::string& what) const;

 private:
  friend class Parser;
  std::optional<MappedFile> mapping_;
  std::string name_;
  std::uint32_t version_ = 0;
  std::uint32_t alignment_ = 32;
  std::map<std::string_view, Value> metadata_;
  std::vector<Tensor> tensors_;
};

}  // namespace miser::gguf
