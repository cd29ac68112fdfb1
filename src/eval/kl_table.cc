#include <fmt/format.h>

#include <algorithm>

#include "eval/kl_result.h"
#include "eval/text_table.h"

namespace miser::eval {
namespace {

using nlohmann::json;
using Row = std::vector<std::string>;

double number(const json& row, const char* key) {
  return row.at(key).get<double>();
}

/// "0.0201 [0.0190, 0.0212]"; no interval when there is none.
std::string with_interval(const json& row, const char* key, int digits) {
  const std::string format = fmt::format("{{:.{}g}}", digits);
  const json& all = row.at("ci95");
  return fmt::format(fmt::runtime(format), number(row, key)) +
         interval_text(all.is_null() ? all : all.at(key), format.c_str());
}

std::string summary(const json& result) {
  std::vector<Row> rows = {
      {"kv", "bits", "KL mean", "median", "p99", "max", "top-1", "perplexity", "ratio to f16", "compressed"}};
  for (const json& row : result.at("rows")) {
    rows.push_back({row.at("kv"), fmt::format("{:.3f}", number(row, "bits_per_element")),
                    with_interval(row, "kl_mean", 4), fmt::format("{:.3g}", number(row, "kl_median")),
                    fmt::format("{:.3g}", number(row, "kl_p99")),
                    fmt::format("{:.3g}", number(row, "kl_max")), with_interval(row, "top1", 4),
                    with_interval(row, "perplexity", 5), with_interval(row, "perplexity_ratio", 5),
                    fmt::format("{:.1f} %", 100 * number(row, "compressed_share"))});
  }
  return align(rows);
}

std::string by_position(const json& result) {
  std::vector<Row> rows = {{"kv", "positions", "n", "KL mean", "top-1", "perplexity"}};
  for (const json& row : result.at("rows")) {
    for (const json& bucket : row.at("positions")) {
      rows.push_back(
          {row.at("kv"),
           fmt::format("{}-{}", bucket.at("from").get<std::size_t>(), bucket.at("to").get<std::size_t>() - 1),
           bucket.at("n").dump(), fmt::format("{:.4g}", number(bucket, "kl_mean")),
           fmt::format("{:.4f}", number(bucket, "top1")),
           fmt::format("{:.4f}", number(bucket, "perplexity"))});
    }
  }
  return align(rows);
}

std::string cache(const json& result) {
  std::vector<Row> rows = {{"kv", "KiB", "of f16"}};
  for (const auto& [width, count] : result.at("rows").at(0).at("vectors_at").items())
    rows[0].push_back(width + " bit");
  std::sort(rows[0].begin() + 3, rows[0].end(), [](const std::string& a, const std::string& b) {
    return std::make_pair(a.size(), a) < std::make_pair(b.size(), b);
  });
  for (const json& row : result.at("rows")) {
    Row& cells = rows.emplace_back(
        Row{row.at("kv"), fmt::format("{:.0f}", number(row, "bytes") / 1024),
            fmt::format("{:.1f} %", 100 * number(row, "bytes") / number(row, "bytes_f16"))});
    for (std::size_t i = 3; i < rows[0].size(); ++i) {
      const std::string width = rows[0][i].substr(0, rows[0][i].find(' '));
      cells.push_back(row.at("vectors_at").at(width).dump());
    }
  }
  return align(rows);
}

}  // namespace

std::string kl_table(const json& result) {
  const auto done = result.at("done").get<std::size_t>();
  std::string out = fmt::format(
      "{} of {} contexts of {} tokens, positions from {} ({} tokens scored); window {}, block {}, scales {}\n"
      "KL from {} in nats{}\n\n",
      done, result.at("contexts").get<std::size_t>(), result.at("context").get<std::size_t>(),
      result.at("skip").get<std::size_t>(), result.at("n").get<std::size_t>(),
      result.at("kv_window").get<std::size_t>(), result.at("kv_block").get<std::size_t>(),
      result.at("kv_scales").get<std::string>(), result.at("reference").value("name", "f16"),
      done > 1 ? "; in brackets 95 % by bootstrap over contexts"
               : "; no intervals, which need more than one context");
  return out + summary(result) + "\n" + by_position(result) + "\n" + cache(result);
}

}  // namespace miser::eval
