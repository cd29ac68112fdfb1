#include "cli/default_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "temporary_folder.h"

namespace miser::cli {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr const char* kName = "SmolLM2-135M-Instruct.Q4_1.gguf";

// A directory of its own for each test, and an environment in which no models directory is set.
class DefaultModel : public testing::Test {
 protected:
  void SetUp() override {
    unsetenv("MISER_MODEL_DIR");
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", root_.c_str(), 1);
  }

  std::string make_model(const fs::path& directory) {
    fs::create_directories(directory);
    std::ofstream(directory / kName) << "GGUF";
    return (directory / kName).string();
  }

  static std::string error() { return test::error_of(default_model_path); }

  test::TemporaryFolder folder_;
  fs::path root_ = folder_.file("home");
};

TEST_F(DefaultModel, LiesInTheCacheOfTheHomeDirectory) {
  const std::string path = make_model(root_ / ".cache/miser/models");
  EXPECT_EQ(default_model_path(), path);
}

TEST_F(DefaultModel, FollowsXdgCacheHome) {
  make_model(root_ / ".cache/miser/models");
  const std::string path = make_model(root_ / "xdg/miser/models");
  setenv("XDG_CACHE_HOME", (root_ / "xdg").c_str(), 1);
  EXPECT_EQ(default_model_path(), path);
}

TEST_F(DefaultModel, FollowsMiserModelDirFirst) {
  make_model(root_ / "xdg/miser/models");
  const std::string path = make_model(root_ / "mine");
  setenv("XDG_CACHE_HOME", (root_ / "xdg").c_str(), 1);
  setenv("MISER_MODEL_DIR", (root_ / "mine").c_str(), 1);
  EXPECT_EQ(default_model_path(), path);
}

TEST_F(DefaultModel, TakesAnEmptyVariableAsUnset) {
  const std::string path = make_model(root_ / ".cache/miser/models");
  setenv("XDG_CACHE_HOME", "", 1);
  setenv("MISER_MODEL_DIR", "", 1);
  EXPECT_EQ(default_model_path(), path);
}

TEST_F(DefaultModel, SaysWhatToDoWhenTheFileIsMissing) {
  const std::string path = (root_ / ".cache/miser/models" / kName).string();
  EXPECT_EQ(error(), "no model given and " + path + " is missing: run ./dev model, or pass -m FILE");
}

TEST_F(DefaultModel, TakesADirectoryOfThatNameAsMissing) {
  fs::create_directories(root_ / ".cache/miser/models" / kName);
  EXPECT_THAT(error(), HasSubstr("is missing"));
}

TEST_F(DefaultModel, SaysSoWhenThereIsNoHomeDirectory) {
  unsetenv("HOME");
  EXPECT_THAT(error(), HasSubstr("HOME is not set"));
}

}  // namespace
}  // namespace miser::cli
