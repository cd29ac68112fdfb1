#include "session/centres.h"

#include <fmt/ranges.h>

#include <cmath>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "gguf/file.h"

namespace miser {
namespace {

std::vector<float> read_side(const gguf::File& file, std::string_view name, const ModelConfig& model) {
  const gguf::Tensor* tensor = file.find_tensor(name);
  if (tensor == nullptr) fail("{}: no tensor {}, which holds the centres", file.name(), name);
  if (tensor->format->name != std::string_view("F32")) {
    fail("{}: tensor {}: found type {}, expected F32", file.name(), name, tensor->format->name);
  }
  const std::vector<std::uint64_t> shape = {model.head_dim, model.n_kv_heads, model.n_layers};
  // GGUF may leave out trailing dimensions of 1.
  std::vector<std::uint64_t> found = tensor->shape;
  if (found.size() < shape.size()) found.resize(shape.size(), 1);
  if (found != shape) {
    fail("{}: tensor {}: found shape [{}], expected [{}] for this model", file.name(), name,
         fmt::join(tensor->shape, ", "), fmt::join(shape, ", "));
  }
  std::vector<float> values(tensor->data.size() / sizeof(float));
  std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      fail("{}: tensor {}: value {} is {}, expected a finite number", file.name(), name, i, values[i]);
    }
  }
  return values;
}

}  // namespace

kv::Centres read_centres(const std::string& path, const ModelConfig& model) {
  const gguf::File file = gguf::File::open(path);
  return {read_side(file, "centre.k", model), read_side(file, "centre.v", model)};
}

}  // namespace miser
