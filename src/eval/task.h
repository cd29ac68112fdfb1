#pragma once
#include <cstddef>
#include <span>
#include <string_view>

namespace miser::eval {

/// Zero-shot multiple choice with the prompts and scoring rules of lm-evaluation-harness 0.4.13. See
/// docs/tasks.md.
enum class TaskKind { kHellaswag, kOpenbookqa, kArcChallenge, kArcEasy, kPiqa, kWinogrande, kBoolq };

struct Task {
  TaskKind kind;
  std::string_view name;  ///< the harness's
  std::size_t min_endings;
  std::size_t max_endings;
  bool has_acc_norm;  ///< whether the harness reports accuracy by length-normalised log-likelihood
  std::string_view about;
};

std::span<const Task> all_tasks();

}  // namespace miser::eval
