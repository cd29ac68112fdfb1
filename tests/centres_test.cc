#include "session/centres.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "gguf_builder.h"

namespace miser {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

ModelConfig model_of(std::size_t head_dim, std::size_t n_kv_heads, std::size_t n_layers) {
  ModelConfig config;
  config.head_dim = head_dim;
  config.n_kv_heads = n_kv_heads;
  config.n_layers = n_layers;
  return config;
}

class CentresFile : public testing::Test {
 protected:
  ~CentresFile() override { std::filesystem::remove(path_); }

  std::string write(const test::GgufBuilder& builder) {
    const auto bytes = builder.bytes();
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return path_;
  }

 private:
  std::string path_ = testing::TempDir() + "centres_test_" +
                      testing::UnitTest::GetInstance()->current_test_info()->name() + ".gguf";
};

TEST_F(CentresFile, IsReadInTheOrderOfLayersHeadsAndDimensions) {
  test::GgufBuilder builder;
  builder.tensor("centre.k", {2, 1, 2}, std::vector<float>{1, 2, 3, 4});
  builder.tensor("centre.v", {2, 1, 2}, std::vector<float>{5, 6, 7, 8});
  const kv::Centres centres = read_centres(write(builder), model_of(2, 1, 2));
  EXPECT_THAT(centres.k, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(centres.v, ElementsAre(5, 6, 7, 8));
}

TEST_F(CentresFile, MayLeaveOutTrailingDimensionsOfOne) {
  test::GgufBuilder builder;
  builder.tensor("centre.k", {2}, std::vector<float>{1, 2});
  builder.tensor("centre.v", {2, 1}, std::vector<float>{5, 6});
  EXPECT_THAT(read_centres(write(builder), model_of(2, 1, 1)).v, ElementsAre(5, 6));
}

TEST_F(CentresFile, OfAnotherModelIsRejected) {
  test::GgufBuilder builder;
  builder.tensor("centre.k", {2, 1, 2}, std::vector<float>{1, 2, 3, 4});
  builder.tensor("centre.v", {2, 2, 1}, std::vector<float>{5, 6, 7, 8});
  const std::string path = write(builder);
  EXPECT_THAT([&] { read_centres(path, model_of(2, 1, 2)); },
              ThrowsMessage<Error>(AllOf(HasSubstr(path), HasSubstr("centre.v"), HasSubstr("[2, 2, 1]"),
                                         HasSubstr("[2, 1, 2]"))));
}

TEST_F(CentresFile, WithoutATensorIsRejected) {
  test::GgufBuilder builder;
  builder.tensor("centre.k", {2, 1, 1}, std::vector<float>{1, 2});
  const std::string path = write(builder);
  EXPECT_THAT([&] { read_centres(path, model_of(2, 1, 1)); },
              ThrowsMessage<Error>(HasSubstr("no tensor centre.v")));
}

TEST_F(CentresFile, WithAnotherTypeIsRejected) {
  test::GgufBuilder builder;
  const std::vector<std::uint16_t> half = {0x3C00, 0x3C00};
  builder.tensor("centre.k", {2, 1, 1}, gguf::TensorType::kF16, std::as_bytes(std::span(half)));
  const std::string path = write(builder);
  EXPECT_THAT([&] { read_centres(path, model_of(2, 1, 1)); },
              ThrowsMessage<Error>(AllOf(HasSubstr("found type F16"), HasSubstr("expected F32"))));
}

TEST_F(CentresFile, WithAValueThatIsNoNumberIsRejected) {
  test::GgufBuilder builder;
  builder.tensor("centre.k", {2, 1, 1}, std::vector<float>{1, 2});
  builder.tensor("centre.v", {2, 1, 1}, std::vector<float>{1, std::numeric_limits<float>::quiet_NaN()});
  const std::string path = write(builder);
  EXPECT_THAT([&] { read_centres(path, model_of(2, 1, 1)); },
              ThrowsMessage<Error>(AllOf(HasSubstr("centre.v"), HasSubstr("value 1"))));
}

}  // namespace
}  // namespace miser
