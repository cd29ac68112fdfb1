#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace miser {

/// Cuts text into the words inside which byte-level BPE merges, by the regular expressions that llama.cpp
/// uses for a `tokenizer.ggml.pre`. They apply one after the other: each cuts what the ones before left into
/// its matches and what lies between them. Works in time linear in the text. Safe to share by threads.
class PreTokenizer {
 public:
  /// nullopt when the name is unknown.
  static std::optional<PreTokenizer> named(std::string_view name);
  /// "default, gpt-2, ..." for messages.
  static std::string names();
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;

  /// Calls `use` for the words of `text` in order; together they are the text. A byte that is no valid UTF-8
  /// is a word of its own, and what lies on its sides is cut as if it were two texts.
  void split(std::string_view text, const std::function<void(std::string_view)>& use) const;

 private:
  struct Impl;
  explicit PreTokenizer(const std::vector<std::string>& patterns);

  std::unique_ptr<const Impl> impl_;
};

}  // namespace miser
