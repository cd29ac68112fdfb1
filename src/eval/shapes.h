#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/tensor_type.h"
#include "model/config.h"

namespace miser::eval {

/// A model known by its hyperparameters, to be filled with random weights.
struct Shape {
  std::string name;           ///< "smollm-135m Q4_0"
  std::string pre_tokenizer;  ///< tokenizer.ggml.pre
  ModelConfig config;         ///< of the published model
  gguf::TensorType format;    ///< of the weight matrices
  bool llama3_rope = false;   ///< frequencies scaled as in Llama 3.1 and later
};

/// Reads "smollm-135m", "smollm-360m", "smollm-1.7b" or "llama-3.2-1b", with ":FORMAT" of Q4_0 (when left
/// out), Q4_1, Q8_0 or F16. Throws UsageError that lists these for anything else.
Shape parse_shape(std::string_view spec);

struct ShapeTensor {
  std::string name;
  std::vector<std::uint64_t> shape;  ///< GGUF order: row length first
  gguf::TensorType type;
};

/// All weights of the shape. The output matrix is the embedding, as in the published models. It has 8 bits in
/// the 4-bit formats, as llama.cpp quantises it when rows are no multiple of 256.
std::vector<ShapeTensor> tensors_of(const Shape& shape);

/// Divisors of the rotation frequencies [rope_dim / 2] of Llama 3.1 and later (factor 32, original context
/// 8,192), by the formula of their publication.
std::vector<float> llama3_rope_factors(const ModelConfig& config);

}  // namespace miser::eval
