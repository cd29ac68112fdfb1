#include "model/model.h"

#include <fmt/format.h>

#include <cmath>
#include <set>
#include <string_view>

namespace miser {
namespace {

/// Hands out tensors by name and shape, and remembers which were asked for.
class TensorReader {
 public:
  explicit TensorReader(const gguf::File& file) : file_(file) {}
  const gguf::File& file() const { return file_; }

  const gguf::Tensor* find(const std::string& name) {
    const gguf::Tensor* tensor = file_.find_tensor(name);
    if (tensor != nullptr) used_.insert(tensor->name);
    return tensor;
  }

  nn::Matrix matrix(const std::string& name, std::size_t rows, std::size_t cols) {
    return nn::Matrix(checked(name, {cols, rows}));
  }

  std::vector<float> vector(const std::string& name, std::size_t size) {
    const gguf::Tensor& tensor = checked(name, {size});
    std::vector<float> values(size);
    tensor.format->unpack(tensor.data.data(), size / tensor.format->block_elements, values.data());
    for (const float value : values) {
      if (!std::isfinite(value))
        file_.fail(fmt::format("tensor {}: found {}, expected finite numbers", name, value));
    }
    return values;
  }

  /// A weight that nobody reads would make the output silently wrong.
  void check_all_used() const {
    for (const gguf::Tensor& tensor : file_.tensors()) {
      if (used_.contains(tensor.name)) continue;
      if (tensor.name.ends_with(".attn_rot_embd") || tensor.name.ends_with("rope_freqs"))
        continue;  // old, unused
      file_.fail(fmt::format("tensor {}: this model needs it, but it is not supported", tensor.name));
    }
  }

 private:
  const gguf::Tensor& checked(const std::string& name, const std::vector<std::uint64_t>& shape) {
    const gguf::Tensor* tensor = find(name);
    if (tensor == nullptr) file_.fail(fmt::format("tensor {}: missing", name));
    if (tensor->shape != shape) {
      file_.fail(fmt::format("tensor {}: found shape [{}], expected [{}]", name,
                             fmt::join(tensor->shape, ", "), fmt::join(shape, ", ")));
    }
    return *tensor;
  }

  const gguf::File& file_;
  std::set<std::string_view> used_;
};

LayerWeights read_layer(TensorReader& read, const ModelConfig& c, std::size_t index) {
  auto name = [&](const char* what) { return fmt::format("blk.{}.{}.weight", index, what); };
  LayerWeights layer;
  layer.attn_norm = read.vector(name("attn_norm"), c.n_embd);
  layer.wq = read.matrix(name("attn_q"), c.q_dim(), c.n_embd);
  layer.wk = read.matrix(name("attn_k"), c.kv_dim(), c.n_embd);
  layer.wv = read.matrix(name("attn_v"), c.kv_dim(), c.n_embd);
  layer.wo = read.matrix(name("attn_output"), c.n_embd, c.q_dim());
  layer.ffn_norm = read.vector(name("ffn_norm"), c.n_embd);
  layer.w_gate = read.matrix(name("ffn_gate"), c.n_ff, c.n_embd);
  layer.w_up = read.matrix(name("ffn_up"), c.n_ff, c.n_embd);
  layer.w_down = read.matrix(name("ffn_down"), c.n_embd, c.n_ff);
  return layer;
}

std::vector<float> read_rope_frequencies(TensorReader& read, const ModelConfig& c) {
  const std::size_t n_pairs = c.rope_dim / 2;
  std::vector<float> factors(n_pairs, 1.0F);  // llama3 scaling: one divisor per pair
  if (read.find("rope_freqs.weight") != nullptr) factors = read.vector("rope_freqs.weight", n_pairs);
  for (const float factor : factors) {
    if (factor <= 0)
      read.file().fail(fmt::format("tensor rope_freqs.weight: found {}, expected > 0", factor));
  }
  std::vector<float> frequencies(n_pairs);
  for (std::size_t i = 0; i < n_pairs; ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(c.rope_dim);
    frequencies[i] = static_cast<float>(std::pow(c.rope_base, exponent) / factors[i] / c.rope_scale);
  }
  return frequencies;
}

}  // namespace

Model Model::load(const std::string& path) {
  return Model(gguf::File::open(path));
}

Model::Model(gguf::File file) : file_(std::move(file)), config_(read_config(file_)) {
  TensorReader read(file_);
  const gguf::Tensor* embedding = read.find("token_embd.weight");
  if (embedding == nullptr) file_.fail("tensor token_embd.weight: missing");
  config_.n_vocab = embedding->rows();
  embedding_ = read.matrix("token_embd.weight", config_.n_vocab, config_.n_embd);
  if (read.find("output.weight") != nullptr) {
    output_ = std::make_unique<nn::Matrix>(read.matrix("output.weight", config_.n_vocab, config_.n_embd));
  }
  output_norm_ = read.vector("output_norm.weight", config_.n_embd);
  for (std::size_t i = 0; i < config_.n_layers; ++i) layers_.push_back(read_layer(read, config_, i));
  rope_frequencies_ = read_rope_frequencies(read, config_);
  read.check_all_used();
}

std::size_t Model::bytes_per_token() const {
  std::size_t bytes = output().bytes();
  for (const LayerWeights& layer : layers_) {
    for (const nn::Matrix* w :
         {&layer.wq, &layer.wk, &layer.wv, &layer.wo, &layer.w_gate, &layer.w_up, &layer.w_down}) {
      bytes += w->bytes();
    }
  }
  return bytes;
}

}  // namespace miser
