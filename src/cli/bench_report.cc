#include "cli/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace miser::cli {
namespace {

using nlohmann::ordered_json;

constexpr double kMiB = 1024.0 * 1024.0;

double share(const BenchResult& result, const eval::SpeedRow& row) {
  return eval::roofline_share(row.decode.median, result.bytes_read(row), result.roofline_gb_per_s());
}

/// One measured test of a row: "pp512" or "tg32".
struct Test {
  std::string name;
  const eval::Speed& speed;
  std::string roofline;  ///< empty for prefill, which computes more than it reads
};

std::vector<Test> tests_of(const BenchResult& result, const eval::SpeedRow& row) {
  std::vector<Test> tests;
  if (result.n_prompt > 0) tests.push_back({fmt::format("pp{}", result.n_prompt), row.prefill, ""});
  if (result.n_gen > 0) {
    tests.push_back(
        {fmt::format("tg{}", result.n_gen), row.decode, fmt::format("{:.2f}", share(result, row))});
  }
  return tests;
}

std::string machine_line(const BenchResult& result) {
  const eval::Machine& machine = result.machine;
  return fmt::format(
      "\n{}, {} threads, {:.1f} GB/s from memory ({:.0f} MiB), {:.1f} GB/s from {:.0f} MiB (the weights of a "
      "token), {} build{}, {}, miser {}\nt/s: median ± median absolute deviation; ratio: to {}, median of "
      "the "
      "ratios within each repetition; roofline: share of what reading weights and cache would allow\n",
      machine.cpu, result.threads, result.memory.gb_per_s, static_cast<double>(result.memory.bytes) / kMiB,
      result.weights.gb_per_s, static_cast<double>(result.weights.bytes) / kMiB, machine.build_type,
      machine.asserts ? " with asserts" : "", machine.simd, machine.version, result.rows.front().kv);
}

std::string as_markdown(const BenchResult& result) {
  std::string out =
      "| model | size | params | threads | kv | bits/element | depth | test | t/s | ratio | roofline |\n"
      "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n";
  for (const eval::SpeedRow& row : result.rows) {
    for (const Test& test : tests_of(result, row)) {
      out += fmt::format(
          "| {} | {:.2f} MiB | {:.2f} M | {} | {} | {:.2f} | {} | {} | {:.2f} ± {:.2f} | {:.3f} | {} |\n",
          result.model, static_cast<double>(result.model_bytes) / kMiB,
          static_cast<double>(result.model_params) / 1e6, result.threads, row.kv, row.bits_per_element,
          row.depth, test.name, test.speed.median, test.speed.deviation, test.speed.ratio, test.roofline);
    }
  }
  return out + machine_line(result);
}

/// Null when nothing was measured.
ordered_json number(const eval::Speed& speed, double value) {
  return speed.tok_per_s.empty() ? ordered_json() : ordered_json(value);
}

ordered_json row_json(const BenchResult& result, const eval::SpeedRow& row) {
  const eval::Speed& prefill = row.prefill;
  const eval::Speed& decode = row.decode;
  return {{"kv", row.kv},
          {"depth", row.depth},
          {"n_prompt", result.n_prompt},
          {"n_gen", result.n_gen},
          {"prefill_tok_per_s", number(prefill, prefill.median)},
          {"decode_tok_per_s", number(decode, decode.median)},
          {"spread",
           {{"measure", "median absolute deviation"},
            {"prefill_tok_per_s", number(prefill, prefill.deviation)},
            {"decode_tok_per_s", number(decode, decode.deviation)}}},
          {"prefill_ratio", number(prefill, prefill.ratio)},
          {"decode_ratio", number(decode, decode.ratio)},
          {"kv_bytes", row.kv_bytes},
          {"bits_per_element", row.bits_per_element},
          {"bytes_per_token", number(decode, result.bytes_read(row))},
          {"roofline_share", number(decode, share(result, row))},
          {"samples", {{"prefill_tok_per_s", prefill.tok_per_s}, {"decode_tok_per_s", decode.tok_per_s}}}};
}

ordered_json head_json(const BenchResult& result) {
  const auto bandwidth = [](const eval::Bandwidth& b) {
    return ordered_json{{"bytes", b.bytes}, {"gb_per_s", b.gb_per_s}};
  };
  const eval::Machine& machine = result.machine;
  return {{"model", result.model},
          {"model_bytes", result.model_bytes},
          {"model_params", result.model_params},
          {"weight_bytes_per_token", result.bytes_per_token},
          {"threads", result.threads},
          {"bandwidth_gb_per_s", result.roofline_gb_per_s()},
          {"bandwidth", {{"memory", bandwidth(result.memory)}, {"weights", bandwidth(result.weights)}}},
          {"machine",
           {{"cpu", machine.cpu},
            {"simd", machine.simd},
            {"build_type", machine.build_type},
            {"asserts", machine.asserts},
            {"version", machine.version}}}};
}

/// Names and strings of a file may be malformed UTF-8; JSON must not be.
std::string dump(const ordered_json& value, int indent) {
  return value.dump(indent, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string as_json(const BenchResult& result) {
  ordered_json all = head_json(result);
  all["rows"] = ordered_json::array();
  for (const eval::SpeedRow& row : result.rows) all["rows"].push_back(row_json(result, row));
  return dump(all, 2);
}

std::string as_jsonl(const BenchResult& result) {
  std::string out;
  for (const eval::SpeedRow& row : result.rows) {
    ordered_json line = head_json(result);
    line.update(row_json(result, row));
    out += dump(line, -1);
  }
  return out;
}

/// A field in quotes, quotes doubled (RFC 4180).
std::string csv_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

std::string as_csv(const BenchResult& result) {
  std::string out =
      "model,model_bytes,model_params,threads,kv,bits_per_element,kv_bytes,depth,test,tok_per_s,"
      "median_absolute_deviation,ratio,roofline_share,bandwidth_gb_per_s,cpu,simd,build_type,version\n";
  for (const eval::SpeedRow& row : result.rows) {
    for (const Test& test : tests_of(result, row)) {
      out += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", csv_text(result.model),
                         result.model_bytes, result.model_params, result.threads, csv_text(row.kv),
                         row.bits_per_element, row.kv_bytes, row.depth, test.name, test.speed.median,
                         test.speed.deviation, test.speed.ratio, test.roofline, result.roofline_gb_per_s(),
                         csv_text(result.machine.cpu), result.machine.simd, result.machine.build_type,
                         result.machine.version);
    }
  }
  return out;
}

}  // namespace

double BenchResult::roofline_gb_per_s() const {
  return std::max(memory.gb_per_s, weights.gb_per_s);
}

double BenchResult::bytes_read(const eval::SpeedRow& row) const {
  return static_cast<double>(bytes_per_token) + row.decode_kv_bytes;
}

std::string format_bench(const BenchResult& result, std::string_view format) {
  if (format == "csv") return as_csv(result);
  if (format == "json") return as_json(result);
  if (format == "jsonl") return as_jsonl(result);
  return as_markdown(result);
}

}  // namespace miser::cli
