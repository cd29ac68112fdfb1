#include "eval/task.h"

#include <array>

namespace miser::eval {
namespace {

constexpr std::array<Task, 7> kTasks = {{
    {TaskKind::kHellaswag, "hellaswag", 4, 4, true, "How does the scene go on? Four endings"},
    {TaskKind::kOpenbookqa, "openbookqa", 4, 4, true, "Elementary science, sentences to complete"},
    {TaskKind::kArcChallenge, "arc_challenge", 2, 5, true, "School science, the hard questions"},
    {TaskKind::kArcEasy, "arc_easy", 2, 5, true, "School science, the easy questions"},
    {TaskKind::kPiqa, "piqa", 2, 2, true, "Physical common sense, two solutions"},
    {TaskKind::kWinogrande, "winogrande", 2, 2, false, "Who or what fills the blank? Two options"},
    {TaskKind::kBoolq, "boolq", 2, 2, false, "Yes or no, from a passage"},
}};

}  // namespace

std::span<const Task> all_tasks() {
  return kTasks;
}

}  // namespace miser::eval
