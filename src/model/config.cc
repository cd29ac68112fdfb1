#include "model/config.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string>

namespace miser {
namespace {

/// Reads keys "llama.*" of one file with messages that name file and key.
class Reader {
 public:
  explicit Reader(const gguf::File& file) : file_(file) {}

  std::size_t size(const std::string& key) const {
    const auto value = file_.find_uint(prefix(key));
    if (!value) file_.fail(fmt::format("{}: missing, expected a whole number", prefix(key)));
    return checked(key, *value);
  }
  std::size_t size_or(const std::string& key, std::size_t fallback) const {
    const auto value = file_.find_uint(prefix(key));
    return value ? checked(key, *value) : fallback;
  }
  /// Without a fallback the key must be there.
  float positive(const std::string& key, std::optional<float> fallback = {}) const {
    const auto value = file_.find_number(prefix(key));
    if (!value && !fallback) file_.fail(fmt::format("{}: missing, expected a positive number", prefix(key)));
    if (!value) return *fallback;
    if (!std::isfinite(*value) || *value <= 0 || *value > std::numeric_limits<float>::max()) {
      file_.fail(fmt::format("{}: found {}, expected a positive number", prefix(key), *value));
    }
    return static_cast<float>(*value);
  }
  /// One head count for all layers, from a number or an array of equal numbers.
  std::size_t head_count(const std::string& key, std::size_t fallback) const {
    const gguf::Value* value = file_.find(prefix(key));
    if (value == nullptr || !std::holds_alternative<gguf::Array>(*value)) return size_or(key, fallback);
    const auto counts = file_.find_ints(prefix(key)).value();
    for (const auto count : counts) {
      if (count != counts.front())
        file_.fail(prefix(key) + ": found different counts, expected the same in all layers");
    }
    if (counts.empty() || counts.front() < 0) file_.fail(prefix(key) + ": found no usable count");
    return checked(key, static_cast<std::uint64_t>(counts.front()));
  }
  void reject(const std::string& key) const {
    if (file_.find_number(prefix(key)).value_or(0) != 0)
      file_.fail(prefix(key) + ": this feature is not supported");
  }

 private:
  static std::string prefix(const std::string& key) { return "llama." + key; }
  std::size_t checked(const std::string& key, std::uint64_t value) const {
    constexpr std::uint64_t kLargest = std::numeric_limits<std::int32_t>::max();
    if (value == 0 || value > kLargest) {
      file_.fail(fmt::format("{}: found {}, expected 1 to {}", prefix(key), value, kLargest));
    }
    return value;
  }

  const gguf::File& file_;
};

void check_architecture(const gguf::File& file) {
  const auto architecture = file.find_string("general.architecture");
  if (!architecture) file.fail("general.architecture: missing, expected 'llama'");
  if (*architecture != "llama") {
    file.fail(fmt::format("general.architecture: found '{}', expected 'llama'", *architecture));
  }
  if (file.tensors().empty()) file.fail("found no tensors (a vocabulary-only file), expected a model");
}

float read_rope_scale(const gguf::File& file, const Reader& read) {
  const auto type = file.find_string("llama.rope.scaling.type").value_or("none");
  if (type != "none" && type != "linear") {
    file.fail(fmt::format("llama.rope.scaling.type: found '{}', expected none or linear", type));
  }
  const float legacy = read.positive("rope.scale_linear", 1.0F);
  return type == "linear" ? read.positive("rope.scaling.factor", legacy) : legacy;
}

void check_heads(const gguf::File& file, const ModelConfig& config) {
  if (config.n_heads % config.n_kv_heads != 0) {
    file.fail(fmt::format("llama.attention.head_count_kv: found {}, expected a divisor of head_count {}",
                          config.n_kv_heads, config.n_heads));
  }
  if (config.rope_dim > config.head_dim || config.rope_dim % 2 != 0) {
    file.fail(fmt::format("llama.rope.dimension_count: found {}, expected an even number up to head_dim {}",
                          config.rope_dim, config.head_dim));
  }
}

}  // namespace

ModelConfig read_config(const gguf::File& file) {
  check_architecture(file);
  const Reader read(file);
  ModelConfig config;
  config.n_layers = read.size("block_count");
  config.n_embd = read.size("embedding_length");
  config.n_ff = read.size("feed_forward_length");
  config.n_heads = read.head_count("attention.head_count", 0);
  if (config.n_heads == 0) file.fail("llama.attention.head_count: missing, expected a whole number");
  config.n_kv_heads = read.head_count("attention.head_count_kv", config.n_heads);
  config.context = read.size("context_length");
  if (file.find("llama.attention.key_length") == nullptr && config.n_embd % config.n_heads != 0) {
    file.fail(fmt::format("llama.attention.head_count: found {}, expected a divisor of embedding_length {}",
                          config.n_heads, config.n_embd));
  }
  config.head_dim = read.size_or("attention.key_length", config.n_embd / config.n_heads);
  const std::size_t value_length = read.size_or("attention.value_length", config.head_dim);
  if (value_length != config.head_dim) {
    file.fail(fmt::format("llama.attention.value_length: found {}, expected key_length {}", value_length,
                          config.head_dim));
  }
  config.rope_dim = read.size_or("rope.dimension_count", config.head_dim);
  config.rope_base = read.positive("rope.freq_base", 10000.0F);
  config.rope_scale = read_rope_scale(file, read);
  config.rms_epsilon = read.positive("attention.layer_norm_rms_epsilon");
  for (const char* key : {"expert_count", "attention.sliding_window", "attention.clamp_kqv",
                          "attention.scale", "logit_scale", "embedding_scale", "residual_scale"}) {
    read.reject(key);
  }
  check_heads(file, config);
  return config;
}

}  // namespace miser
