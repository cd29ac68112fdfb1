#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "eval/task.h"

namespace miser::eval {

/// One way to end an item: the log-likelihood of `continuation` after `context` is its score.
struct Ending {
  std::string context;
  std::string continuation;
  std::size_t characters = 0;  ///< length of the choice that acc_norm divides by
};

struct Item {
  std::size_t line = 0;  ///< of the file, from 1
  std::vector<Ending> endings;
  std::size_t label = 0;  ///< index of the right ending
};

struct ItemFile {
  std::string path;
  std::vector<Item> items;
  std::uint64_t hash = 0;  ///< of all lines
};

/// Reads items from JSONL, gzipped or not, in the field names of the Hugging Face set or the flat ones of
/// docs/tasks.md, and keeps `limit` of them spread evenly (0: all). Throws Error naming file, line, found and
/// expected for a file that cannot be read or is empty, a line that is no JSON object, a field that is
/// missing or of another type, a wrong number of endings, an empty ending, a label out of range.
ItemFile read_items(const Task& task, const std::string& path, std::size_t limit = 0);

}  // namespace miser::eval
