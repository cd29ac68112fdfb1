#include "report/read.h"

#include <fmt/format.h>

#include <exception>
#include <string_view>

#include "base/error.h"
#include "base/mapped_file.h"

namespace miser::report {
namespace {

using nlohmann::json;

std::optional<Range> interval(const json& row, const char* key) {
  const json& all = row.at("ci95");
  if (all.is_null() || all.at(key).is_null()) return std::nullopt;
  return Range{all.at(key).at(0).get<double>(), all.at(key).at(1).get<double>()};
}

PolicyResult policy(const json& row) {
  PolicyResult result;
  result.kv = row.at("kv");
  result.bits_per_element = row.at("bits_per_element");
  result.bytes = row.at("bytes");
  result.kl_mean = row.at("kl_mean");
  result.kl_median = row.at("kl_median");
  result.kl_p99 = row.at("kl_p99");
  result.top1 = row.at("top1");
  result.perplexity = row.at("perplexity");
  result.perplexity_ratio = row.at("perplexity_ratio");
  result.compressed_share = row.at("compressed_share");
  result.kl_interval = interval(row, "kl_mean");
  result.top1_interval = interval(row, "top1");
  result.ratio_interval = interval(row, "perplexity_ratio");
  for (const json& bucket : row.at("positions"))
    result.positions.push_back(
        {bucket.at("from"), bucket.at("to"), bucket.at("kl_mean"), bucket.at("perplexity")});
  return result;
}

/// A row of a frontier.
PolicyResult arm(const json& row) {
  PolicyResult result;
  result.kv = row.at("arm");
  const std::string kind = row.at("kind");
  result.runs = kind != "shuffled" && kind != "inverted" && kind != "oracle" && kind != "fixed-ls";
  result.bits_per_element = row.at("bits_per_element");
  result.bytes = row.at("bytes");
  result.kl_mean = row.at("kl_mean");
  result.kl_median = row.at("kl_median");
  result.kl_p99 = row.at("kl_p99");
  result.top1 = row.at("top1");
  result.perplexity = row.at("perplexity");
  result.perplexity_ratio = row.at("perplexity_ratio");
  result.compressed_share = row.at("compressed_share");
  result.kl_interval = interval(row, "kl_mean");
  return result;
}

std::string with_hash(const json& file) {
  return fmt::format("{}, {:.1f} MB, hash {}", file.at("name").get<std::string>(),
                     file.at("bytes").get<double>() / 1e6, file.at("hash").get<std::string>());
}

std::string cache_rules(const json& result) {
  std::string text =
      fmt::format("the newest {} tokens exact, packed in blocks of {}; scales: {}",
                  result.at("kv_window").get<std::size_t>(), result.at("kv_block").get<std::size_t>(),
                  result.at("kv_scales").get<std::string>());
  if (result.contains("kv_centres")) text += "; centres: " + with_hash(result.at("kv_centres"));
  return text;
}

[[noreturn]] void fail_at(const std::string& path, std::size_t row, std::string_view expected) {
  fail("{}: rows[{}]: expected {}, as miser bench --json prints it", path, row, expected);
}

/// A number that may be missing: not everything is measured in every run.
std::optional<double> number(const std::string& path, std::size_t index, const json& row, const char* key) {
  if (!row.contains(key) || row.at(key).is_null()) return std::nullopt;
  if (!row.at(key).is_number()) fail_at(path, index, fmt::format("a number \"{}\"", key));
  return row.at(key).get<double>();
}

SpeedResult speed(const std::string& path, std::size_t index, const json& row) {
  if (!row.is_object() || !row.contains("kv") || !row.at("kv").is_string())
    fail_at(path, index, "a policy \"kv\"");
  if (!row.contains("depth") || !row.at("depth").is_number_unsigned())
    fail_at(path, index, "a count of tokens \"depth\"");
  SpeedResult result;
  result.kv = row.at("kv");
  result.depth = row.at("depth");
  result.prefill_tok_per_s = number(path, index, row, "prefill_tok_per_s");
  result.decode_tok_per_s = number(path, index, row, "decode_tok_per_s");
  result.roofline_share = number(path, index, row, "roofline_share");
  result.kv_bytes = number(path, index, row, "kv_bytes");
  return result;
}

std::optional<double> number_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? std::optional(found->get<double>()) : std::nullopt;
}

json parse(const std::string& path) {
  const MappedFile file(path);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  json bench = json::parse(text, nullptr, false);
  if (!bench.is_object() || !bench.contains("rows") || !bench.at("rows").is_array())
    fail("{}: expected one JSON object with \"rows\", as miser bench --json prints it", path);
  return bench;
}

}  // namespace

void add_kl(const json& result, ReportData& data) {
  const json& model = result.at("model");
  data.title = model.at("name");
  data.summary = fmt::format(
      "{} tokens scored, in {} contexts of {}, from position {} on. KL and top-1 compare each cache with "
      "the exact f16 cache of the same engine.",
      result.at("n").get<std::size_t>(), result.at("done").get<std::size_t>(),
      result.at("context").get<std::size_t>(), result.at("skip").get<std::size_t>());
  for (const json& row : result.at("rows")) data.policies.push_back(policy(row));
  data.facts.push_back({"Model", with_hash(model)});
  data.facts.push_back(
      {"Text", fmt::format("{} of {} contexts of {} tokens, hash {}", result.at("done").get<std::size_t>(),
                           result.at("contexts").get<std::size_t>(), result.at("context").get<std::size_t>(),
                           result.at("text").get<std::string>())});
  data.facts.push_back({"Cache", cache_rules(result)});
}

void add_frontier(const json& result, ReportData& data) {
  const json& table = result.at("tables").back();
  data.title = result.at("model").at("name").get<std::string>() + ": frontier";
  data.summary = fmt::format(
      "{} contexts of {} tokens of {}, from position {} on. Bits count the whole cache; all arms have the "
      "same "
      "exact tokens and centres. KL and top-1 compare with the exact f16 cache of the same engine.",
      table.at("contexts").get<std::size_t>(), result.at("context").get<std::size_t>(),
      table.at("text").get<std::string>(), result.at("skip").get<std::size_t>());
  for (const json& row : table.at("rows")) {
    if (row.at("kind") != "best fixed") data.policies.push_back(arm(row));
  }
  data.facts.push_back({"Model", with_hash(result.at("model"))});
  const json& plan = result.at("plan");
  data.facts.push_back(
      {"Plan", plan.contains("hash") ? with_hash(plan) : plan.at("name").get<std::string>()});
  data.facts.push_back({"Cache", fmt::format("the newest {} tokens exact, packed in blocks of {}",
                                             result.at("kv_window").get<std::size_t>(),
                                             result.at("kv_block").get<std::size_t>())});
}

void add_bench(const std::string& path, ReportData& data) {
  const json bench = parse(path);
  const json& rows = bench.at("rows");
  for (std::size_t i = 0; i < rows.size(); ++i) data.speed.push_back(speed(path, i, rows[i]));
  std::vector<std::string> parts;
  if (const auto name = bench.find("model"); name != bench.end() && name->is_string()) parts.push_back(*name);
  if (const json::json_pointer cpu("/machine/cpu"); bench.contains(cpu) && bench.at(cpu).is_string())
    parts.push_back(bench.at(cpu));
  if (const auto threads = number_of(bench, "threads"))
    parts.push_back(fmt::format("{:.0f} threads", *threads));
  if (const auto bandwidth = number_of(bench, "bandwidth_gb_per_s"))
    parts.push_back(fmt::format("memory bandwidth {:.1f} GB/s", *bandwidth));
  data.speed_note = fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace miser::report
