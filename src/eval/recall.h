#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "eval/task_run.h"
#include "tokenizer/tokenizer.h"

namespace miser::eval {

struct RecallOptions {
  std::vector<std::size_t> lengths = {1024, 2048, 4096};  ///< of documents with question and answer, tokens
  std::size_t n_documents = 8;                            ///< of each kind and length
  std::uint64_t seed = 1;
};

/// Questions on facts hidden in generated documents: Question::place holds "kind" ("passkey", "facts"),
/// "length" and "distance", the tokens from the end of the fact to the answer. Throws UsageError when a
/// length is too short for its facts.
std::vector<Question> recall_questions(const Tokenizer& tokenizer, const RecallOptions& options);

}  // namespace miser::eval
