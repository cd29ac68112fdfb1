#include "gguf/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "base/error.h"
#include "gguf/load.h"
#include "gguf/printable.h"
#include "gguf/value_type.h"

namespace miser::gguf {
namespace {

constexpr std::string_view kMagic = "GGUF";
// The smallest entries a file can hold: what bounds its counts before anything is allocated for them.
constexpr std::uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;  // key length, key, type, value
constexpr std::uint64_t kMinTensorBytes =
    8 + 1 + 4 + 8 + 4 + 8;  // name, dimensions, one dimension, type, offset
constexpr std::uint64_t kMinStringBytes = 8;
constexpr std::uint64_t kMaxNameBytes = 65535;
constexpr std::uint32_t kMaxDimensions = 4;
constexpr std::uint64_t kMinAlignment = 8;
constexpr std::uint64_t kMaxAlignment = 1 << 20;

/// a * b, or nullopt when it does not fit.
std::optional<std::uint64_t> product(std::uint64_t a, std::uint64_t b) {
  if (b != 0 && a > std::numeric_limits<std::uint64_t>::max() / b) return {};
  return a * b;
}

}  // namespace

Parser::Parser(std::span<const std::byte> bytes, std::string name) : bytes_(bytes) {
  file_.name_ = std::move(name);
}

File Parser::parse() {
  read_header();
  for (std::uint64_t i = 0; i < n_entries_; ++i) {
    reading_ = fmt::format("metadata entry {} of {}", i + 1, n_entries_);
    read_entry();
  }
  read_alignment();
  for (std::uint64_t i = 0; i < n_tensors_; ++i) {
    reading_ = fmt::format("tensor {} of {}", i + 1, n_tensors_);
    read_tensor_info();
  }
  if (n_tensors_ > 0) place_tensors();
  return std::move(file_);
}

void Parser::fail(const std::string& what) const {
  file_.fail(reading_ + ": " + what);
}

std::span<const std::byte> Parser::take(std::uint64_t size, std::string_view what) {
  if (size > remaining()) {
    fail(fmt::format("{} of {} bytes at byte {} is past the end of the file ({} bytes)", what, size, at_,
                     bytes_.size()));
  }
  const auto taken = bytes_.subspan(at_, size);
  at_ += size;
  return taken;
}

template <typename T>
T Parser::read(std::string_view what) {
  return load<T>(take(sizeof(T), what).data());
}

/// Any byte but 0 and 1 would be no bool in C++ either.
template <>
bool Parser::read<bool>(std::string_view what) {
  const auto byte = read<std::uint8_t>(what);
  if (byte > 1) fail(fmt::format("bool is {}, expected 0 or 1", byte));
  return byte == 1;
}

std::string_view Parser::read_string(std::string_view what) {
  const auto size = read<std::uint64_t>("string length");
  const auto text = take(size, what);
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

std::string_view Parser::read_name(std::string_view what) {
  const std::string_view name = read_string(what);
  if (name.empty() || name.size() > kMaxNameBytes) {
    fail(fmt::format("{} has {} bytes, expected 1 to {}", what, name.size(), kMaxNameBytes));
  }
  return name;
}

void Parser::read_header() {
  reading_ = "header";
  const auto magic = take(kMagic.size(), "magic");
  const std::string_view found(reinterpret_cast<const char*>(magic.data()), magic.size());
  if (found != kMagic) fail(fmt::format("magic is '{}', expected '{}'", printable(found), kMagic));
  file_.version_ = read<std::uint32_t>("version");
  if (file_.version_ != 0 && file_.version_ % 65536 == 0) fail("file is big-endian, expected little-endian");
  if (file_.version_ != 2 && file_.version_ != 3) {
    fail(fmt::format("version is {}, expected 2 or 3", file_.version_));
  }
  n_tensors_ = read<std::uint64_t>("tensor count");
  n_entries_ = read<std::uint64_t>("metadata count");
  const auto check = [&](std::string_view what, std::uint64_t count, std::uint64_t min_bytes) {
    if (count <= remaining() / min_bytes) return;
    fail(fmt::format("{} is {}, but only {} bytes follow", what, count, remaining()));
  };
  check("metadata count", n_entries_, kMinEntryBytes);
  check("tensor count", n_tensors_, kMinTensorBytes);
}

void Parser::read_entry() {
  const std::string_view key = read_name("key");
  reading_ = fmt::format("key {}", printable(key));
  const auto type = read<std::uint32_t>("value type");
  if (!file_.metadata_.emplace(key, read_value(type)).second) fail("appears twice, expected once");
}

Value Parser::read_value(std::uint32_t type) {
  if (type == kString) return read_string("string");
  if (type == kArray) return read_array();
  Value value;
  const bool known =
      visit_scalar_type(type, [&]<typename T>(std::type_identity<T>) { value = read<T>("value"); });
  if (!known) fail(fmt::format("value type is {}, expected 0 to {}", type, std::size(kValueTypeNames) - 1));
  return value;
}

Array Parser::read_array() {
  Array array;
  array.element_type = read<std::uint32_t>("element type");
  array.size = read<std::uint64_t>("array length");
  if (array.element_type == kArray) fail("array of arrays is not supported");
  std::uint64_t element_bytes = kMinStringBytes;
  const bool scalar = visit_scalar_type(
      array.element_type, [&]<typename T>(std::type_identity<T>) { element_bytes = sizeof(T); });
  if (!scalar && array.element_type != kString) {
    fail(fmt::format("element type is {}, expected 0 to {}", array.element_type,
                     std::size(kValueTypeNames) - 1));
  }
  if (array.size > remaining() / element_bytes) {
    fail(fmt::format("array of {} elements of at least {} bytes is past the end of the file ({} bytes)",
                     array.size, element_bytes, bytes_.size()));
  }
  if (scalar) {
    array.data = take(array.size * element_bytes, "array");
    return array;
  }
  array.strings.reserve(array.size);
  for (std::uint64_t i = 0; i < array.size; ++i) array.strings.push_back(read_string("string"));
  return array;
}

void Parser::read_alignment() {
  constexpr std::string_view kKey = "general.alignment";
  const std::uint64_t alignment = file_.find_uint(kKey).value_or(file_.alignment_);
  if (!std::has_single_bit(alignment) || alignment < kMinAlignment || alignment > kMaxAlignment) {
    file_.fail(fmt::format("key {}: value is {}, expected a power of two from {} to {}", kKey, alignment,
                           kMinAlignment, kMaxAlignment));
  }
  file_.alignment_ = static_cast<std::uint32_t>(alignment);
}

void Parser::read_tensor_info() {
  Tensor tensor;
  tensor.name = read_name("name");
  reading_ = fmt::format("tensor {}", printable(tensor.name));
  if (!tensor_names_.insert(tensor.name).second) fail("appears twice, expected once");
  const auto n_dimensions = read<std::uint32_t>("number of dimensions");
  if (n_dimensions < 1 || n_dimensions > kMaxDimensions) {
    fail(fmt::format("has {} dimensions, expected 1 to {}", n_dimensions, kMaxDimensions));
  }
  for (std::uint32_t i = 0; i < n_dimensions; ++i) {
    tensor.shape.push_back(read<std::uint64_t>("dimension"));
    if (tensor.shape.back() == 0) fail(fmt::format("dimension {} is 0, expected at least 1", i));
  }
  const auto type = read<std::uint32_t>("type");
  tensor.format = find_format(static_cast<TensorType>(type));
  if (tensor.format == nullptr) fail(fmt::format("type {} is not supported", type));
  const auto offset = read<std::uint64_t>("offset");
  if (offset % file_.alignment_ != 0) {
    fail(fmt::format("offset is {}, expected a multiple of {}", offset, file_.alignment_));
  }
  places_.push_back({offset, tensor_bytes(tensor)});
  file_.tensors_.push_back(std::move(tensor));
}

std::uint64_t Parser::tensor_bytes(const Tensor& tensor) const {
  const TensorFormat& format = *tensor.format;
  if (tensor.shape[0] % format.block_elements != 0) {
    fail(fmt::format("rows of {} elements, expected a multiple of {} for type {}", tensor.shape[0],
                     format.block_elements, format.name));
  }
  // The product of all dimensions, counted as 4-byte floats, must fit, so that rows() and unpacking cannot
  // overflow.
  std::optional<std::uint64_t> elements = 1;
  for (const std::uint64_t dimension : tensor.shape) {
    if (elements) elements = product(*elements, dimension);
  }
  if (!elements || !product(*elements, sizeof(float))) {
    fail(fmt::format("shape [{}] has too many elements", fmt::join(tensor.shape, ", ")));
  }
  return *elements / format.block_elements * format.block_bytes;
}

void Parser::place_tensors() {
  const std::uint64_t mask = file_.alignment_ - 1;
  const std::uint64_t start = (at_ + mask) & ~mask;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const auto [offset, size] = places_[i];
    Tensor& tensor = file_.tensors_[i];
    reading_ = fmt::format("tensor {}", printable(tensor.name));
    if (start > bytes_.size() || offset > bytes_.size() - start || size > bytes_.size() - start - offset) {
      fail(fmt::format("offset {} + {} bytes is past the end of the file ({} bytes, data from byte {})",
                       offset, size, bytes_.size(), start));
    }
    tensor.data = bytes_.subspan(start + offset, size);
  }
  check_overlaps();
}

void Parser::check_overlaps() const {
  std::vector<std::size_t> order(places_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return places_[i].offset; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const Place& before = places_[order[i - 1]];
    const Place& after = places_[order[i]];
    if (before.offset + before.bytes <= after.offset) continue;
    file_.fail(fmt::format("tensor {}: offset {} is inside tensor {} (offset {}, {} bytes)",
                           printable(file_.tensors_[order[i]].name), after.offset,
                           printable(file_.tensors_[order[i - 1]].name), before.offset, before.bytes));
  }
}

}  // namespace miser::gguf
