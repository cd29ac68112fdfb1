#include "eval/shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace miser::eval {
namespace {

using gguf::TensorType;

// Columns: layers, embedding, FFN, heads, KV heads, head_dim, vocabulary, context, rotated dimensions, RoPE
// base.
const Shape published[] = {
    {"smollm-135m", "smollm", {30, 576, 1536, 9, 3, 64, 49152, 8192, 64, 1e5F}, TensorType::kQ4_0},
    {"smollm-360m", "smollm", {32, 960, 2560, 15, 5, 64, 49152, 8192, 64, 1e5F}, TensorType::kQ4_0},
    {"smollm-1.7b", "smollm", {24, 2048, 8192, 32, 32, 64, 49152, 8192, 64, 1.3e5F}, TensorType::kQ4_0},
    {"llama-3.2-1b",
     "llama-bpe",
     {16, 2048, 8192, 32, 8, 64, 128256, 131072, 64, 5e5F},
     TensorType::kQ4_0,
     true},
};
constexpr TensorType kFormats[] = {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ8_0, TensorType::kF16};

[[noreturn]] void fail_shape(std::string_view spec) {
  std::vector<std::string_view> names;
  for (const Shape& shape : published) names.push_back(shape.name);
  std::vector<std::string_view> formats;
  for (const TensorType type : kFormats) formats.push_back(gguf::find_format(type)->name);
  fail_usage("--shape: found '{}', expected {} with an optional format :{}", spec, fmt::join(names, ", "),
             fmt::join(formats, ", :"));
}

}  // namespace

Shape parse_shape(std::string_view spec) {
  const std::size_t colon = spec.find(':');
  const std::string_view format = colon == std::string_view::npos ? "Q4_0" : spec.substr(colon + 1);
  for (const Shape& known : published) {
    if (known.name != spec.substr(0, colon)) continue;
    for (const TensorType type : kFormats) {
      if (gguf::find_format(type)->name != format) continue;
      Shape shape = known;
      shape.name = fmt::format("{} {}", known.name, format);
      shape.format = type;
      return shape;
    }
  }
  fail_shape(spec);
}

std::vector<ShapeTensor> tensors_of(const Shape& shape) {
  const ModelConfig& c = shape.config;
  const bool wide = shape.format == TensorType::kF16;
  std::vector<ShapeTensor> all = {
      {"token_embd.weight", {c.n_embd, c.n_vocab}, wide ? TensorType::kF16 : TensorType::kQ8_0},
      {"output_norm.weight", {c.n_embd}, TensorType::kF32}};
  if (shape.llama3_rope) all.push_back({"rope_freqs.weight", {c.rope_dim / 2}, TensorType::kF32});
  for (std::size_t layer = 0; layer < c.n_layers; ++layer) {
    const auto add = [&](std::string_view what, std::vector<std::uint64_t> dims) {
      const TensorType type = dims.size() == 1 ? TensorType::kF32 : shape.format;
      all.push_back({fmt::format("blk.{}.{}.weight", layer, what), std::move(dims), type});
    };
    add("attn_norm", {c.n_embd});
    add("attn_q", {c.n_embd, c.q_dim()});
    add("attn_k", {c.n_embd, c.kv_dim()});
    add("attn_v", {c.n_embd, c.kv_dim()});
    add("attn_output", {c.q_dim(), c.n_embd});
    add("ffn_norm", {c.n_embd});
    add("ffn_gate", {c.n_embd, c.n_ff});
    add("ffn_up", {c.n_embd, c.n_ff});
    add("ffn_down", {c.n_ff, c.n_embd});
  }
  return all;
}

std::vector<float> llama3_rope_factors(const ModelConfig& config) {
  // Short waves are left alone, waves longer than the original context are stretched, between them a blend.
  constexpr double kFactor = 32;
  constexpr double kLow = 1;
  constexpr double kHigh = 4;
  constexpr double kOriginalContext = 8192;
  std::vector<float> factors;
  for (std::size_t i = 0; i < config.rope_dim / 2; ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(config.rope_dim);
    const double wavelength = 2 * std::numbers::pi * std::pow(config.rope_base, exponent);
    const double blend = (kOriginalContext / wavelength - kLow) / (kHigh - kLow);
    const double smooth = std::clamp(blend, 0.0, 1.0);
    factors.push_back(static_cast<float>(1 / ((1 - smooth) / kFactor + smooth)));
  }
  return factors;
}

}  // namespace miser::eval
