#include "eval/recall_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace miser::eval {
namespace {

using Words = std::vector<std::string_view>;

constexpr std::size_t kAnswers = 10;  // to the question for the pass key
constexpr std::size_t kFacts = 6;     // in a document of several facts

constexpr std::array<std::string_view, 16> kWho = {
    "The baker",      "An old fisherman", "The station master", "A young teacher",
    "The gardener",   "My neighbour",     "The postman",        "A tired nurse",
    "The carpenter",  "A quiet painter",  "The bus driver",     "The librarian",
    "A tall student", "The night guard",  "The shepherd",       "A clockmaker"};
constexpr std::array<std::string_view, 16> kDid = {
    "walked slowly along the river",      "opened the windows to let in some air",
    "waited for the rain to stop",        "read an old newspaper",
    "repaired the handle of a door",      "counted the steps to the gate",
    "talked about the weather",           "put a kettle on the stove",
    "swept the leaves from the path",     "listened to a song on the radio",
    "looked at the boats in the harbour", "wrote a short letter",
    "carried two baskets up the hill",    "fed the cat that lives in the yard",
    "sat down on a wooden bench",         "searched for a pair of warm socks"};
constexpr std::array<std::string_view, 12> kWhen = {
    "in the morning",      "before lunch",      "after the market had closed", "late in the evening",
    "on a windy day",      "while it snowed",   "as the bells were ringing",   "without any hurry",
    "for the second time", "early on a Sunday", "when the street was empty",   "just before sunset"};
constexpr std::array<std::string_view, 8> kThen = {"Nobody seemed to mind.",   "It took longer than usual.",
                                                   "Then it was quiet again.", "That was enough for one day.",
                                                   "Nothing else happened.",   "The air smelled of the sea.",
                                                   "Somewhere a dog barked.",  "The lamps were already lit."};

template <std::size_t N>
Words words(const std::array<std::string_view, N>& from) {
  return {from.begin(), from.end()};
}

}  // namespace

std::string_view to_string(RecallKind kind) {
  return kind == RecallKind::kPasskey ? "passkey" : "facts";
}

RecallText::RecallText(std::uint64_t seed, RecallKind kind, std::size_t length, std::size_t document)
    : kind_(kind) {
  std::seed_seq mix{seed & 0xFFFFFFFFU, seed >> 32U, static_cast<std::uint64_t>(kind),
                    static_cast<std::uint64_t>(length), static_cast<std::uint64_t>(document)};
  random_.seed(mix);
}

std::string RecallText::introduction() const {
  return kind_ == RecallKind::kPasskey
             ? "Somewhere in the notes below there is a pass key. You will be asked for it at the end.\n\n"
             : "The notes below say which fruit each person likes. You will be asked about it at the "
               "end.\n\n";
}

std::string RecallText::filler() {
  std::string sentence =
      fmt::format("{} {} {}.", kWho[draw(kWho.size())], kDid[draw(kDid.size())], kWhen[draw(kWhen.size())]);
  if (draw(3) == 0) sentence.append(" ").append(kThen[draw(kThen.size())]);
  return sentence;
}

std::vector<Fact> RecallText::facts() {
  return kind_ == RecallKind::kPasskey ? passkey() : fruits();
}

std::vector<Fact> RecallText::passkey() {
  std::vector<std::string> keys;
  while (keys.size() < kAnswers) {
    std::string key = fmt::format("{}", 10000 + draw(90000));
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(std::move(key));
  }
  const std::size_t label = draw(kAnswers);
  return {{fmt::format("The pass key is {0}. Remember it: {0} is the pass key.", keys[label]),
           "\n\nWhat is the pass key? The pass key is", keys, label}};
}

std::vector<Fact> RecallText::fruits() {
  constexpr std::array<std::string_view, 12> kNames = {"Anna",   "Boris", "Clara", "David", "Emma", "Felix",
                                                       "Hannah", "Jacob", "Laura", "Peter", "Rosa", "Simon"};
  constexpr std::array<std::string_view, 12> kFruits = {"apple", "banana", "cherry", "grape",
                                                        "lemon", "mango",  "melon",  "orange",
                                                        "peach", "pear",   "plum",   "lime"};
  const Words names = draw_distinct(words(kNames), kFacts);
  const Words fruits = draw_distinct(words(kFruits), kFacts);
  std::vector<Fact> facts;
  for (std::size_t i = 0; i < kFacts; ++i) {
    facts.push_back(
        {fmt::format("The favourite fruit of {} is the {}.", names[i], fruits[i]),
         fmt::format("\n\nWhat is the favourite fruit of {0}? The favourite fruit of {0} is the", names[i]),
         {fruits.begin(), fruits.end()},
         i});
  }
  return facts;
}

Words RecallText::draw_distinct(Words from, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) std::swap(from[i], from[i + draw(from.size() - i)]);
  from.resize(n);
  return from;
}

}  // namespace miser::eval
