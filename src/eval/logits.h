#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"

namespace miser::eval {

/// Reference log-probabilities as llama-perplexity saves them (`--kl-divergence-base FILE`, llama.cpp
/// tools/perplexity), little-endian:
///
///   "_logits_"  i32 n_ctx  i32 n_vocab  i32 n_chunk  i32 tokens[n_chunk * n_ctx]
///   then, for each chunk and each position from n_ctx / 2 to n_ctx - 2, one row:
///   f32 scale  f32 min  u16 code[n_vocab rounded up to even],  log-probability = scale * code + min
///
/// Code 0 stands for every log-probability of 16 and more nats below the largest.
class LogitsFile {
 public:
  /// Throws Error naming the field, found and expected when the file is no such file, is longer or shorter
  /// than its header says, or holds an id that is no token.
  explicit LogitsFile(const std::string& path);

  const std::string& path() const { return path_; }
  std::size_t bytes() const { return file_.bytes().size(); }
  std::size_t context() const { return context_; }  ///< tokens of a context
  std::size_t n_vocab() const { return n_vocab_; }  ///< logits of a row
  std::size_t n_contexts() const { return n_contexts_; }
  std::size_t first_scored() const { return context_ / 2; }

  std::vector<std::int32_t> tokens(std::size_t index) const;
  /// Log-probabilities [n_vocab] after token `position` of a context. Throws Error when the row's numbers are
  /// impossible. REQUIRES: first_scored() <= position < context() - 1.
  void read_row(std::size_t index, std::size_t position, std::span<float> out) const;

  /// Log-probabilities at or below this are unknown: llama-perplexity leaves them out of its sums too.
  static constexpr float kFloor = -16.0F;

 private:
  std::size_t count(std::size_t offset, const char* field, std::size_t low) const;
  std::size_t row_bytes() const { return 8 + 2 * (n_vocab_ + n_vocab_ % 2); }

  MappedFile file_;
  std::string path_;
  std::size_t context_ = 0;
  std::size_t n_vocab_ = 0;
  std::size_t n_contexts_ = 0;
  std::size_t rows_at_ = 0;  ///< byte offset of the first row
};

}  // namespace miser::eval
