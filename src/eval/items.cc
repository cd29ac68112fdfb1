#include "eval/items.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "eval/items_text.h"
#include "eval/kl_contexts.h"

namespace miser::eval {
namespace {

using nlohmann::json;
using Strings = std::vector<std::string>;

/// The object of one line; what it lacks is reported with file and line.
class Fields {
 public:
  Fields(std::string where, std::string_view line) : where_(std::move(where)) {
    try {
      object_ = json::parse(line);
    } catch (const json::exception& e) {
      fail("{}: not JSON: {}", where_, e.what());
    }
    if (!object_.is_object()) fail("{}: found {}, expected a JSON object", where_, object_.type_name());
  }

  const std::string& where() const { return where_; }
  bool has(const char* name) const { return object_.contains(name); }
  const json& get(const char* name) const {
    const auto found = object_.find(name);
    if (found == object_.end()) fail("{}: found no field '{}'", where_, name);
    return *found;
  }
  const std::string& text(const char* name) const { return text(get(name), name); }
  Strings texts(const char* name) const { return texts(get(name), name); }

  /// The choices of `choices`, as an array or, in the sets of AI2, an object {"text": [...], "label": [...]}.
  Strings choices() const {
    const json& found = get("choices");
    return found.is_object() ? member(found, "text") : texts(found, "choices");
  }
  /// Index of the right one of `n` endings: `label` from 0, as a number or digits, or `answerKey`.
  std::size_t label(std::size_t n) const {
    if (!has("answerKey")) return index("label", 0, n);
    const std::string_view key = strip(text("answerKey"));
    const Strings labels = member(get("choices"), "label");
    const auto found = std::find(labels.begin(), labels.end(), key);
    const auto at = static_cast<std::size_t>(found - labels.begin());
    if (at >= n) fail("{}: field 'answerKey': found '{}', expected the label of a choice", where_, key);
    return at;
  }
  /// Field `name` in [first, first + n), counted from `first`.
  std::size_t index(const char* name, long first, std::size_t n) const {
    const json& found = get(name);
    const std::optional<long> value = whole_number(found);
    if (!value || *value < first || *value >= first + static_cast<long>(n)) {
      fail("{}: field '{}': found {}, expected {} to {}", where_, name,
           found.is_primitive() ? found.dump(-1, ' ', true) : found.type_name(), first,
           first + static_cast<long>(n) - 1);
    }
    return static_cast<std::size_t>(*value - first);
  }

 private:
  static std::optional<long> whole_number(const json& value) {
    if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
    if (value.is_number_integer()) return value.get<long>();
    if (!value.is_string()) return std::nullopt;
    const auto& digits = value.get_ref<const std::string&>();
    long number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    return error == std::errc() && end == digits.data() + digits.size() ? std::optional(number)
                                                                        : std::nullopt;
  }
  const std::string& text(const json& value, const char* name) const {
    if (!value.is_string())
      fail("{}: field '{}': found {}, expected a string", where_, name, value.type_name());
    return value.get_ref<const std::string&>();
  }
  Strings texts(const json& value, const char* name) const {
    if (!value.is_array())
      fail("{}: field '{}': found {}, expected an array", where_, name, value.type_name());
    Strings out;
    for (const json& element : value) out.push_back(text(element, name));
    return out;
  }
  Strings member(const json& object, const char* name) const {
    const auto found = object.find(name);
    if (found == object.end()) fail("{}: field 'choices': found no '{}' in it", where_, name);
    return texts(*found, name);
  }

  std::string where_;
  json object_;
};

using Endings = std::vector<Ending>;

/// Choices that follow one context after a space.
Endings after(const std::string& context, const Strings& choices) {
  Endings endings;
  for (const std::string& choice : choices)
    endings.push_back({context, fmt::format(" {}", choice), length(choice)});
  return endings;
}

Endings hellaswag(const Fields& f) {
  std::string context = f.has("activity_label") ? f.text("activity_label") + ": " + f.text("ctx_a") + " " +
                                                      capitalize(f.text("ctx_b"))
                                                : f.text("ctx");
  Strings endings = f.texts("endings");
  for (std::string& ending : endings) ending = clean_hellaswag(ending);
  return after(clean_hellaswag(context), endings);
}

std::string question_and_answer(const std::string& question) {
  return fmt::format("Question: {}\nAnswer:", question);
}

/// The options fill the blank, and what is scored is the rest of the sentence (Trinh & Le 2018).
Endings winogrande(const Fields& f) {
  const bool flat = f.has("question");
  const std::string& sentence = f.text(flat ? "question" : "sentence");
  const std::size_t blank = sentence.find('_');
  if (blank == std::string::npos) fail("{}: found no blank '_' in the sentence", f.where());
  const std::string rest = fmt::format(" {}", strip(std::string_view(sentence).substr(blank + 1)));
  Endings endings;
  for (const std::string& option : flat ? f.choices() : Strings{f.text("option1"), f.text("option2")}) {
    endings.push_back({sentence.substr(0, blank) + option, rest, length(option)});
  }
  return endings;
}

Endings parse_endings(const Task& task, const Fields& f) {
  switch (task.kind) {
    case TaskKind::kHellaswag:
      return hellaswag(f);
    case TaskKind::kOpenbookqa:
      return after(f.text(f.has("question_stem") ? "question_stem" : "question"), f.choices());
    case TaskKind::kArcChallenge:
    case TaskKind::kArcEasy:
      return after(question_and_answer(f.text("question")), f.choices());
    case TaskKind::kPiqa:
      return after(question_and_answer(f.text("goal")), {f.text("sol1"), f.text("sol2")});
    case TaskKind::kWinogrande:
      return winogrande(f);
    case TaskKind::kBoolq:
      break;
  }
  return after(f.text("passage") + "\n" + question_and_answer(f.text("question") + "?"), {"no", "yes"});
}

std::size_t parse_label(const Task& task, const Fields& f, std::size_t n) {
  if (task.kind == TaskKind::kBoolq && !f.has("label")) return f.index("answer", 0, n);
  if (task.kind == TaskKind::kWinogrande && !f.has("label")) return f.index("answer", 1, n);
  return f.label(n);
}

void check(const Task& task, const Endings& endings, const std::string& where) {
  const std::size_t n = endings.size();
  if (n < task.min_endings || n > task.max_endings) {
    fail("{}: found {} endings, expected {}", where, n,
         task.min_endings == task.max_endings ? fmt::format("{}", task.min_endings)
                                              : fmt::format("{} to {}", task.min_endings, task.max_endings));
  }
  for (std::size_t i = 0; i < n; ++i) {
    if (strip(endings[i].context).empty()) fail("{}: the context of ending {} is empty", where, i + 1);
    if (endings[i].characters == 0 || strip(endings[i].continuation).empty()) {
      fail("{}: ending {} of {} is empty", where, i + 1, n);
    }
  }
}

/// FNV-1a (Fowler, Noll & Vo), 64 bits.
void add_to_hash(std::uint64_t& hash, std::string_view bytes) {
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
}

/// `limit` items spread evenly over all.
std::vector<Item> thin_out(std::vector<Item> items, std::size_t limit) {
  if (limit == 0 || limit >= items.size()) return items;
  for (std::size_t i = 0; i < limit; ++i) {
    const std::size_t from = i * items.size() / limit;
    if (from != i) items[i] = std::move(items[from]);
  }
  items.resize(limit);
  return items;
}

}  // namespace

ItemFile read_items(const Task& task, const std::string& path, std::size_t limit) {
  ItemFile file{path, {}, 0xCBF29CE484222325ULL};
  const std::string text = read_text(path);
  std::size_t n = 0;
  for (std::string_view rest = text; !rest.empty();) {
    ++n;
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (strip(line).empty()) continue;
    const Fields fields(fmt::format("{}:{}", path, n), line);
    Item item{n, parse_endings(task, fields), 0};
    check(task, item.endings, fields.where());
    item.label = parse_label(task, fields, item.endings.size());
    file.items.push_back(std::move(item));
    add_to_hash(file.hash, line);
    add_to_hash(file.hash, "\n");
  }
  if (file.items.empty()) fail("{}: found no items, expected one JSON object a line", path);
  file.items = thin_out(std::move(file.items), limit);
  return file;
}

}  // namespace miser::eval
