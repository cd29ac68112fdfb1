#include "policy/plan_fields.h"

#include <fmt/ranges.h>

#include <cmath>

#include "base/error.h"
#include "gguf/printable.h"

namespace miser::policy {
namespace {

bool allowed(float value, Values values) {
  if (!std::isfinite(value)) return false;
  if (values == Values::kNotNegative) return value >= 0;
  return values != Values::kPositive || value > 0;
}

std::string_view describe(Values values) {
  if (values == Values::kFinite) return "a finite number";
  return values == Values::kPositive ? "a finite number above 0" : "a finite number of at least 0";
}

}  // namespace

std::uint64_t read_uint(const gguf::File& file, std::string_view key, std::uint64_t low, std::uint64_t high) {
  const auto value = file.find_uint(key);
  if (!value) fail("{}: no {}, expected a whole number", file.name(), key);
  if (*value < low || *value > high)
    fail("{}: {}: found {}, expected {} to {}", file.name(), key, *value, low, high);
  return *value;
}

std::string_view read_string(const gguf::File& file, std::string_view key) {
  const auto value = file.find_string(key);
  if (!value) fail("{}: no {}, expected a string", file.name(), key);
  return *value;
}

float read_number(const gguf::File& file, std::string_view key, float low, float high) {
  const auto value = file.find_number(key);
  if (!value) fail("{}: no {}, expected a number", file.name(), key);
  if (!(*value >= low && *value <= high))
    fail("{}: {}: found {}, expected {} to {}", file.name(), key, *value, low, high);
  return static_cast<float>(*value);
}

std::vector<float> read_tensor(const gguf::File& file, std::string_view name,
                               std::span<const std::uint64_t> shape, Values values) {
  const gguf::Tensor* tensor = file.find_tensor(name);
  if (tensor == nullptr) fail("{}: no tensor {}", file.name(), name);
  const auto type = tensor->format->type;
  if (type != gguf::TensorType::kF32 && type != gguf::TensorType::kF16)
    fail("{}: tensor {}: found type {}, expected F32 or F16", file.name(), name, tensor->format->name);
  std::vector<std::uint64_t> found = tensor->shape;
  if (found.size() < shape.size()) found.resize(shape.size(), 1);
  if (!std::equal(found.begin(), found.end(), shape.begin(), shape.end()))
    fail("{}: tensor {}: found shape [{}], expected [{}]", file.name(), name, fmt::join(tensor->shape, ", "),
         fmt::join(shape, ", "));
  std::vector<float> out(tensor->rows() * tensor->cols());
  tensor->format->unpack(tensor->data.data(), out.size(), out.data());
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (!allowed(out[i], values))
      fail("{}: tensor {}: value {} is {}, expected {}", file.name(), name, i, out[i], describe(values));
  }
  return out;
}

}  // namespace miser::policy
