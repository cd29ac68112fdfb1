#pragma once
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "eval/task.h"

namespace miser::eval {

inline const Task& task_named(std::string_view name) {
  for (const Task& task : all_tasks()) {
    if (task.name == name) return task;
  }
  throw std::runtime_error("no such task");
}

/// A file of this test's own that is gone with the object.
class TempFile {
 public:
  explicit TempFile(const std::string& text, const std::string& name = "items.jsonl")
      : path_(testing::TempDir() + testing::UnitTest::GetInstance()->current_test_info()->name() + name) {
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~TempFile() { std::filesystem::remove(path_); }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace miser::eval
