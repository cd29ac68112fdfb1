#include "cli/default_model.h"

#include <cstdlib>
#include <filesystem>

#include "base/error.h"

namespace miser::cli {

namespace {

constexpr const char* kFileName = "SmolLM2-135M-Instruct.Q4_1.gguf";

// An empty variable counts as unset, as in the XDG base directory specification.
std::filesystem::path variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::filesystem::path models_directory() {
  if (auto models = variable("MISER_MODEL_DIR"); !models.empty()) return models;
  if (auto cache = variable("XDG_CACHE_HOME"); !cache.empty()) return cache / "miser" / "models";
  if (auto home = variable("HOME"); !home.empty()) return home / ".cache" / "miser" / "models";
  fail("no model given and HOME is not set: pass -m FILE");
}

}  // namespace

std::string default_model_path() {
  const std::filesystem::path path = models_directory() / kFileName;
  std::error_code ignored;  // what cannot be looked at is as good as missing
  if (!std::filesystem::is_regular_file(path, ignored)) {
    fail("no model given and {} is missing: run ./dev model, or pass -m FILE", path.string());
  }
  return path.string();
}

}  // namespace miser::cli
