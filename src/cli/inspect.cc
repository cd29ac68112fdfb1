#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/inspect_plan.h"
#include "gguf/file.h"
#include "gguf/printable.h"
#include "policy/plan_file.h"

namespace miser::cli {
namespace {

using nlohmann::json;

constexpr std::size_t kShownTextBytes = 72;
constexpr std::uint64_t kShownElements = 6;

/// What the tensors of one type, or all of them, come to.
struct Total {
  std::uint64_t tensors = 0;
  std::uint64_t elements = 0;
  std::uint64_t bytes = 0;

  void add(const gguf::Tensor& tensor) {
    ++tensors;
    elements += tensor.rows() * tensor.cols();
    bytes += tensor.data.size();
  }
  double bits_per_weight() const {
    return elements == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
  }
};

struct FormatTotals {
  Total all;
  std::map<std::string_view, Total> by_type;

  explicit FormatTotals(const gguf::File& file) {
    for (const gguf::Tensor& tensor : file.tensors()) {
      all.add(tensor);
      by_type[tensor.format->name].add(tensor);
    }
  }
  double share(std::uint64_t bytes) const {
    return static_cast<double>(bytes) / static_cast<double>(std::max<std::uint64_t>(all.bytes, 1));
  }
};

template <typename T>
constexpr bool kIsArray = std::is_same_v<T, gguf::Array>;

/// The first elements of an array, each as `show` gives it.
template <typename Show>
auto first_elements(const gguf::Array& array, Show show) {
  std::vector<decltype(show(gguf::Value{}))> shown;
  for (std::uint64_t i = 0; i < std::min(array.size, kShownElements); ++i) {
    shown.push_back(show(array_element(array, i)));
  }
  return shown;
}

std::string value_text(const gguf::Value& value) {
  return std::visit(
      []<typename T>(const T& v) -> std::string {
        if constexpr (std::is_same_v<T, std::string_view>) {
          return fmt::format("\"{}\"", gguf::printable(v, kShownTextBytes));
        } else if constexpr (kIsArray<T>) {
          return fmt::format("{} elements: {}{}", v.size, fmt::join(first_elements(v, value_text), ", "),
                             v.size > kShownElements ? ", ..." : "");
        } else {
          return fmt::format("{}", v);
        }
      },
      value);
}

json value_json(const gguf::Value& value) {
  return std::visit(
      []<typename T>(const T& v) -> json {
        if constexpr (kIsArray<T>) {
          return {{"size", v.size}, {"first", first_elements(v, value_json)}};
        } else {
          return v;
        }
      },
      value);
}

/// Names and strings of a file may be malformed UTF-8; JSON must not be.
std::string dump(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string as_json(const gguf::File& file) {
  const FormatTotals totals(file);
  json metadata = json::object();
  for (const auto& [key, value] : file.metadata()) {
    metadata[std::string(key)] = {{"type", type_name(value)}, {"value", value_json(value)}};
  }
  json tensors = json::array();
  for (const gguf::Tensor& tensor : file.tensors()) {
    tensors.push_back({{"name", tensor.name},
                       {"shape", tensor.shape},
                       {"type", tensor.format->name},
                       {"bytes", tensor.data.size()}});
  }
  json types = json::object();
  for (const auto& [name, total] : totals.by_type) {
    types[std::string(name)] = {
        {"tensors", total.tensors}, {"elements", total.elements}, {"bytes", total.bytes}};
  }
  const json all = {{"path", file.name()},
                    {"version", file.version()},
                    {"alignment", file.alignment()},
                    {"elements", totals.all.elements},
                    {"bytes", totals.all.bytes},
                    {"bits_per_weight", totals.all.bits_per_weight()},
                    {"metadata", std::move(metadata)},
                    {"tensors", std::move(tensors)},
                    {"types", std::move(types)}};
  return dump(all);
}

/// Width of the longest of `texts`, for columns.
std::size_t width_of(const std::vector<std::string>& texts) {
  std::size_t width = 0;
  for (const std::string& text : texts) width = std::max(width, text.size());
  return width;
}

std::string metadata_text(const gguf::File& file) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : file.metadata()) keys.push_back(gguf::printable(key));
  const std::size_t width = width_of(keys);
  std::string out = "\nMetadata\n";
  std::size_t i = 0;
  for (const auto& [key, value] : file.metadata()) {
    out += fmt::format("  {:<{}}  {:<15}  {}\n", keys[i++], width, type_name(value), value_text(value));
  }
  return out;
}

std::string tensors_text(const gguf::File& file, const FormatTotals& totals) {
  std::vector<std::string> names;
  for (const gguf::Tensor& tensor : file.tensors()) names.push_back(gguf::printable(tensor.name));
  const std::size_t width = std::max<std::size_t>(width_of(names), 4);
  std::string out = fmt::format("\nTensors (row length first)\n  {:<{}}  {:>18}  {:<7}{:>14}{:>9}\n", "name",
                                width, "shape", "type", "bytes", "share");
  std::size_t i = 0;
  for (const gguf::Tensor& tensor : file.tensors()) {
    out += fmt::format("  {:<{}}  {:>18}  {:<7}{:>14}{:>8.2f}%\n", names[i++], width,
                       fmt::to_string(fmt::join(tensor.shape, " x ")), tensor.format->name,
                       tensor.data.size(), 100 * totals.share(tensor.data.size()));
  }
  return out;
}

std::string types_text(const FormatTotals& totals) {
  std::string out = fmt::format("\nTypes\n  {:<7}{:>8}{:>16}{:>14}{:>9}\n", "type", "tensors", "elements",
                                "bytes", "share");
  for (const auto& [name, total] : totals.by_type) {
    out += fmt::format("  {:<7}{:>8}{:>16}{:>14}{:>8.2f}%\n", name, total.tensors, total.elements,
                       total.bytes, 100 * totals.share(total.bytes));
  }
  return out;
}

std::string as_text(const gguf::File& file) {
  const FormatTotals totals(file);
  std::string out =
      fmt::format("{}: GGUF version {}, {} metadata entries, {} tensors, alignment {}\n", file.name(),
                  file.version(), file.metadata().size(), file.tensors().size(), file.alignment());
  if (!file.tensors().empty()) {
    out += fmt::format("{} elements in {} bytes, {:.3f} bits per weight\n", totals.all.elements,
                       totals.all.bytes, totals.all.bits_per_weight());
  }
  out += metadata_text(file);
  if (file.tensors().empty()) return out;
  return out + tensors_text(file, totals) + types_text(totals);
}

/// A reader that has gone away, or a full disk, is an error like any other.
void write_stdout(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
  fail("standard output: cannot write: {}", std::generic_category().message(errno));
}

struct InspectOptions {
  std::string path;
  bool json = false;
};

}  // namespace

void add_inspect(CLI::App& app) {
  CLI::App* const command =
      app.add_subcommand("inspect", "Show the metadata and tensors of a GGUF file, or what is in a plan");
  const auto options = std::make_shared<InspectOptions>();
  command->add_option("FILE", options->path, "GGUF file or plan")->required();
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options] {
    const gguf::File file = gguf::File::open(options->path);
    if (policy::is_plan(file)) {
      const policy::Plan plan = policy::read_plan(file);
      write_stdout(options->json ? dump(plan_json(plan, file.name())) : plan_text(plan, file.name()));
    } else {
      write_stdout(options->json ? as_json(file) : as_text(file));
    }
  });
}

}  // namespace miser::cli
