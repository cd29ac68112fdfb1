#pragma once
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace miser::eval {

/// A fact hidden in a document, the question about it and how it may be answered.
struct Fact {
  std::string statement;             ///< a sentence of the document
  std::string question;              ///< follows the document
  std::vector<std::string> answers;  ///< each follows the question after a space
  std::size_t label = 0;             ///< index of the right answer
};

enum class RecallKind { kPasskey, kFacts };
std::string_view to_string(RecallKind kind);  ///< "passkey", "facts"

/// Plain English made from a seed, the same on every platform.
class RecallText {
 public:
  /// The same arguments give the same text. `document` counts those of one kind and length.
  RecallText(std::uint64_t seed, RecallKind kind, std::size_t length, std::size_t document);

  std::string introduction() const;
  /// A sentence that has nothing to do with any fact.
  std::string filler();
  /// One pass key, answered among random others; or six favourite fruits, each answered among the six.
  std::vector<Fact> facts();

 private:
  std::size_t draw(std::size_t n) { return static_cast<std::size_t>(random_() % n); }
  std::vector<Fact> passkey();
  std::vector<Fact> fruits();
  std::vector<std::string_view> draw_distinct(std::vector<std::string_view> from, std::size_t n);

  RecallKind kind_;
  std::mt19937_64 random_;
};

}  // namespace miser::eval
