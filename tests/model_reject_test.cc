// Models that are incomplete, inconsistent or of a kind that Miser does not run: one clear error each.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "gguf/file.h"
#include "gguf_builder.h"
#include "model/model.h"

namespace miser {
namespace {

using test::GgufBuilder;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::uint64_t kEmbd = 16;
constexpr std::uint64_t kFf = 24;
constexpr std::uint64_t kVocab = 10;

/// A valid one-layer model with 2 query heads and 1 KV head of 8; every part can be changed or taken away.
struct Parts {
  std::map<std::string, std::function<void(GgufBuilder&, const std::string&)>> metadata;
  std::map<std::string, std::vector<std::uint64_t>> tensors;  ///< shapes in GGUF order

  template <typename T>
  Parts& set(const std::string& key, T value) {
    metadata[key] = [value](GgufBuilder& builder, const std::string& name) { builder.set(name, value); };
    return *this;
  }
};

Parts valid_parts() {
  Parts parts;
  parts.set("general.architecture", "llama")
      .set("llama.context_length", 64U)
      .set("llama.embedding_length", static_cast<std::uint32_t>(kEmbd))
      .set("llama.block_count", 1U)
      .set("llama.feed_forward_length", static_cast<std::uint32_t>(kFf))
      .set("llama.attention.head_count", 2U)
      .set("llama.attention.head_count_kv", 1U)
      .set("llama.attention.layer_norm_rms_epsilon", 1e-5F)
      .set("llama.rope.freq_base", 10000.0F)
      .set("llama.rope.dimension_count", 8U);
  parts.tensors = {{"token_embd.weight", {kEmbd, kVocab}},  {"output_norm.weight", {kEmbd}},
                   {"blk.0.attn_norm.weight", {kEmbd}},     {"blk.0.ffn_norm.weight", {kEmbd}},
                   {"blk.0.attn_q.weight", {kEmbd, 16}},    {"blk.0.attn_k.weight", {kEmbd, 8}},
                   {"blk.0.attn_v.weight", {kEmbd, 8}},     {"blk.0.attn_output.weight", {16, kEmbd}},
                   {"blk.0.ffn_gate.weight", {kEmbd, kFf}}, {"blk.0.ffn_up.weight", {kEmbd, kFf}},
                   {"blk.0.ffn_down.weight", {kFf, kEmbd}}};
  return parts;
}

/// The message of the Error that loading gives; empty when it loads.
std::string error_of(const Parts& parts) {
  GgufBuilder builder;
  for (const auto& [key, add] : parts.metadata) add(builder, key);
  for (const auto& [name, shape] : parts.tensors) {
    std::size_t size = 1;
    for (const std::uint64_t dimension : shape) size *= dimension;
    builder.tensor(name, shape, std::vector<float>(size, 0.5F));
  }
  const auto bytes = builder.bytes();
  try {
    const Model model(gguf::File::parse(bytes, "tiny.gguf"));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// One line that names the file and `what`.
auto names(const std::string& what) {
  return AllOf(HasSubstr("tiny.gguf"), HasSubstr(what), ::testing::Not(HasSubstr("\n")));
}

template <typename T>
std::string error_with(const std::string& key, T value) {
  Parts parts = valid_parts();
  return error_of(parts.set(key, value));
}

TEST(ModelErrors, ValidModelLoads) {
  EXPECT_EQ(error_of(valid_parts()), "");
}

TEST(ModelErrors, EachMissingTensorIsNamed) {
  for (const auto& [name, shape] : valid_parts().tensors) {
    Parts parts = valid_parts();
    parts.tensors.erase(name);
    EXPECT_THAT(error_of(parts), names(name));
  }
}

TEST(ModelErrors, EachWrongShapeIsNamed) {
  for (const auto& [name, shape] : valid_parts().tensors) {
    for (std::size_t dimension = 0; dimension < shape.size(); ++dimension) {
      Parts parts = valid_parts();
      parts.tensors[name][dimension] += 8;
      // A larger vocabulary alone is a valid model: the embedding defines it.
      if (name == "token_embd.weight" && dimension == 1) continue;
      EXPECT_THAT(error_of(parts), names(name)) << "dimension " << dimension;
    }
  }
}

TEST(ModelErrors, TransposedMatrixIsNamed) {
  Parts parts = valid_parts();
  parts.tensors["blk.0.ffn_down.weight"] = {kEmbd, kFf};
  EXPECT_THAT(error_of(parts), names("blk.0.ffn_down.weight"));
}

TEST(ModelErrors, TensorThatWouldBeIgnoredIsNamed) {
  Parts parts = valid_parts();
  parts.tensors["blk.0.attn_q.bias"] = {16};
  EXPECT_THAT(error_of(parts), names("blk.0.attn_q.bias"));
}

TEST(ModelErrors, MissingKeysAreNamed) {
  for (const char* key : {"general.architecture", "llama.context_length", "llama.embedding_length",
                          "llama.block_count", "llama.feed_forward_length", "llama.attention.head_count",
                          "llama.attention.layer_norm_rms_epsilon"}) {
    Parts parts = valid_parts();
    parts.metadata.erase(key);
    EXPECT_THAT(error_of(parts), names(key));
  }
}

TEST(ModelErrors, MistypedKeysAreNamed) {
  for (const char* key :
       {"llama.context_length", "llama.embedding_length", "llama.block_count", "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base"}) {
    EXPECT_THAT(error_with(key, "text"), names(key));
  }
}

TEST(ModelErrors, ZeroAndHugeCountsAreNamed) {
  for (const char* key :
       {"llama.context_length", "llama.embedding_length", "llama.block_count", "llama.feed_forward_length",
        "llama.attention.head_count", "llama.attention.head_count_kv"}) {
    EXPECT_THAT(error_with(key, 0U), names(key));
    if (std::string(key) == "llama.context_length") continue;  // a long context is no promise of memory
    EXPECT_THAT(error_with(key, ~std::uint64_t{0}), HasSubstr("tiny.gguf")) << key;
    EXPECT_THAT(error_with(key, 4000000000U), HasSubstr("tiny.gguf")) << key;
  }
}

TEST(ModelErrors, InconsistentHeadsAreNamed) {
  EXPECT_THAT(error_with("llama.attention.head_count", 3U), HasSubstr("tiny.gguf"));
  EXPECT_THAT(error_with("llama.attention.head_count_kv", 3U), names("head_count_kv"));
  EXPECT_THAT(error_with("llama.attention.key_length", 16U), HasSubstr("tiny.gguf"));
  EXPECT_THAT(error_with("llama.attention.value_length", 16U), HasSubstr("tiny.gguf"));
}

TEST(ModelErrors, ImpossibleNumbersAreNamed) {
  for (const float value : {NAN, INFINITY, -1.0F}) {
    EXPECT_THAT(error_with("llama.attention.layer_norm_rms_epsilon", value), names("layer_norm_rms_epsilon"));
    EXPECT_THAT(error_with("llama.rope.freq_base", value), names("rope.freq_base"));
  }
  EXPECT_THAT(error_with("llama.rope.freq_base", 0.0F), names("rope.freq_base"));
  EXPECT_THAT(error_with("llama.rope.dimension_count", 7U), names("rope.dimension_count"));
  EXPECT_THAT(error_with("llama.rope.dimension_count", 10U), names("rope.dimension_count"));
}

TEST(ModelErrors, RopeScalingMustBeOneThatWeRun) {
  EXPECT_THAT(error_with("llama.rope.scaling.type", "yarn"), names("rope.scaling.type"));
  Parts parts = valid_parts();
  parts.set("llama.rope.scaling.type", "linear");
  for (const float factor : {NAN, 0.0F, -2.0F, INFINITY}) {
    EXPECT_THAT(error_of(parts.set("llama.rope.scaling.factor", factor)), names("rope.scaling.factor"));
  }
  EXPECT_EQ(error_of(parts.set("llama.rope.scaling.factor", 2.0F)), "");
}

TEST(ModelErrors, OtherArchitecturesAndExpertsAreRefused) {
  EXPECT_THAT(error_with("general.architecture", "gpt2"), names("gpt2"));
  EXPECT_THAT(error_with("llama.expert_count", 8U), names("expert_count"));
}

TEST(ModelErrors, VocabularyOnlyFileIsNoModel) {
  Parts parts = valid_parts();
  parts.tensors.clear();
  EXPECT_THAT(error_of(parts), HasSubstr("tiny.gguf"));
}

TEST(ModelErrors, MissingFileAndDirectoryAreNamed) {
  for (const char* path : {"no/such/file.gguf", "."}) {
    try {
      Model::load(path);
      ADD_FAILURE() << path << " loads";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(path));
    }
  }
}

}  // namespace
}  // namespace miser
