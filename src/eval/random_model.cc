#include "eval/random_model.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"
#include "gguf/value_type.h"
#include "gguf/writer.h"
#include "nn/ops.h"

namespace miser::eval {
namespace {

using gguf::TensorType;

/// SplitMix64 (Steele, Lea & Flood 2014): fast, and any seed will do.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }
  void fill(std::span<std::byte> out) {
    for (std::size_t at = 0; at < out.size(); at += sizeof(std::uint64_t)) {
      const std::uint64_t word = next();
      std::memcpy(&out[at], &word, std::min(sizeof(word), out.size() - at));
    }
  }

 private:
  std::uint64_t state_;
};

std::uint16_t to_half(float value) {
  std::uint16_t half = 0;
  nn::f32_to_f16({&value, 1}, {&half, 1});
  return half;
}

/// Blocks that begin with a scale and, if `offset` is not 0, an offset of that many scales.
void put_scales(std::span<std::byte> blocks, std::size_t block_bytes, float scale, float offset) {
  const std::uint16_t header[] = {to_half(scale), to_half(scale * offset)};
  const std::size_t size = offset == 0 ? sizeof(header[0]) : sizeof(header);
  for (std::size_t at = 0; at < blocks.size(); at += block_bytes) std::memcpy(&blocks[at], header, size);
}

/// Random signs and fractions under one exponent: uniform in +-[2^e, 2^(e+1)), of rms 1.53 * 2^e.
void put_exponents(std::span<std::byte> halves, float rms) {
  const float power = std::exp2(std::floor(std::log2(rms / 1.53F)));
  const std::uint16_t exponent = to_half(power) & 0x7C00U;
  for (std::size_t at = 0; at < halves.size(); at += sizeof(std::uint16_t)) {
    std::uint16_t half = 0;
    std::memcpy(&half, &halves[at], sizeof(half));
    half = static_cast<std::uint16_t>((half & 0x83FFU) | exponent);
    std::memcpy(&halves[at], &half, sizeof(half));
  }
}

/// Random blocks whose weights have about the given root mean square.
void fill_blocks(TensorType type, float rms, Random& random, std::span<std::byte> blocks) {
  random.fill(blocks);
  const std::size_t block_bytes = gguf::find_format(type)->block_bytes;
  // Root mean square of uniform codes: -8 to 7, 0 to 15 less 7.5, -128 to 127.
  if (type == TensorType::kQ4_0) put_scales(blocks, block_bytes, rms / 4.64F, 0);
  if (type == TensorType::kQ4_1) put_scales(blocks, block_bytes, rms / 4.61F, -7.5F);
  if (type == TensorType::kQ8_0) put_scales(blocks, block_bytes, rms / 73.9F, 0);
  if (type == TensorType::kF16) put_exponents(blocks, rms);
}

void add_tensors(gguf::Writer& writer, const Shape& shape, std::uint64_t seed) {
  Random seeds(seed);
  for (const ShapeTensor& tensor : tensors_of(shape)) {
    if (tensor.name == "rope_freqs.weight") {
      writer.add_floats(tensor.name, tensor.shape, llama3_rope_factors(shape.config));
    } else if (tensor.type == TensorType::kF32) {
      writer.add_floats(tensor.name, tensor.shape, std::vector<float>(tensor.shape[0], 1.0F));
    } else {
      const float rms = 1 / std::sqrt(static_cast<float>(tensor.shape[0]));
      writer.add_tensor(tensor.name, tensor.shape, tensor.type,
                        [type = tensor.type, rms, random = Random(seeds.next())](auto blocks) mutable {
                          fill_blocks(type, rms, random, blocks);
                        });
    }
  }
}

void add_hyperparameters(gguf::Writer& writer, const Shape& shape, std::size_t context) {
  const ModelConfig& c = shape.config;
  const auto size = [&](std::string_view key, std::size_t value) {
    writer.add(key, static_cast<std::uint32_t>(value));
  };
  writer.add("general.architecture", std::string_view("llama"));
  writer.add("general.name", std::string_view(shape.name));
  size("llama.block_count", c.n_layers);
  size("llama.context_length", std::max(c.context, context));
  size("llama.embedding_length", c.n_embd);
  size("llama.feed_forward_length", c.n_ff);
  size("llama.attention.head_count", c.n_heads);
  size("llama.attention.head_count_kv", c.n_kv_heads);
  size("llama.rope.dimension_count", c.rope_dim);
  size("llama.vocab_size", c.n_vocab);
  writer.add("llama.rope.freq_base", c.rope_base);
  writer.add("llama.attention.layer_norm_rms_epsilon", c.rms_epsilon);
}

std::string utf8(unsigned code_point) {
  if (code_point < 0x80) return {static_cast<char>(code_point)};
  return {static_cast<char>(0xC0U | code_point >> 6U), static_cast<char>(0x80U | (code_point & 0x3FU))};
}

/// The 256 bytes as byte-level BPE writes them (Radford et al. 2019): printable ones as themselves, the
/// others from U+0100 on.
std::vector<std::string> byte_tokens() {
  std::vector<std::string> tokens;
  unsigned next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool printable = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
    tokens.push_back(utf8(printable ? byte : next++));
  }
  return tokens;
}

void add_vocabulary(gguf::Writer& writer, const Shape& shape) {
  constexpr std::int32_t kNormal = 1;
  constexpr std::int32_t kControl = 3;
  std::vector<std::string> tokens = byte_tokens();
  std::vector<std::int32_t> types(shape.config.n_vocab, kNormal);
  const std::size_t end = tokens.size();
  tokens.emplace_back("<|endoftext|>");
  types[end] = kControl;
  tokens.emplace_back("!!");  // of the only merge: other engines want one
  while (tokens.size() < types.size()) tokens.push_back(fmt::format("t{}", tokens.size()));
  writer.add("tokenizer.ggml.model", std::string_view("gpt2"));
  writer.add("tokenizer.ggml.pre", std::string_view(shape.pre_tokenizer));
  writer.add_strings("tokenizer.ggml.tokens", tokens);
  writer.add_ints("tokenizer.ggml.token_type", types);
  writer.add_strings("tokenizer.ggml.merges", std::vector<std::string>{"! !"});
  writer.add("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(end));
  writer.add("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(end));
  writer.add("tokenizer.ggml.add_bos_token", false);
}

/// A fresh file that goes with its scope; what maps it keeps its bytes.
class TemporaryFile {
 public:
  TemporaryFile() {
    const char* const directory = std::getenv("TMPDIR");
    path_ = fmt::format("{}/miser-XXXXXX", directory == nullptr ? "/tmp" : directory);
    const int fd = mkstemp(path_.data());
    if (fd < 0) fail("{}: cannot create: {}", path_, std::generic_category().message(errno));
    close(fd);
  }
  ~TemporaryFile() { unlink(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

void write_random_model(const Shape& shape, std::size_t context, std::uint64_t seed,
                        const std::string& path) {
  gguf::Writer writer;
  add_hyperparameters(writer, shape, context);
  add_vocabulary(writer, shape);
  add_tensors(writer, shape, seed);
  writer.write(path);
}

Model make_random_model(const Shape& shape, std::size_t context, std::uint64_t seed) {
  const TemporaryFile file;
  write_random_model(shape, context, seed, file.path());
  return Model::load(file.path());
}

}  // namespace miser::eval
