// Writes a report of invented figures for tests/report_page_test.py: report_sample FILE [empty]
#include <cmath>
#include <cstdio>
#include <exception>
#include <string>

#include "kv/width.h"
#include "report/page.h"
#include "report/report.h"

namespace {

using namespace miser;

constexpr std::size_t kLayers = 30;
constexpr std::size_t kHeads = 3;

report::PolicyResult policy(const std::string& kv, double bits, double kl) {
  report::PolicyResult p;
  p.kv = kv;
  p.bits_per_element = bits;
  p.bytes = bits * 1474560;
  p.kl_mean = kl;
  p.kl_median = kl / 4;
  p.kl_p99 = 12 * kl;
  p.top1 = 1 - 0.55 * std::sqrt(kl);
  p.perplexity = 15.2 * std::exp(0.8 * kl);
  p.perplexity_ratio = std::exp(0.8 * kl);
  p.compressed_share = kv == "f16" ? 0 : 0.96;
  p.kl_interval = report::Range{0.9 * kl, 1.12 * kl};
  p.top1_interval = report::Range{p.top1 - 0.008, std::min(1.0, p.top1 + 0.008)};
  p.ratio_interval = report::Range{p.perplexity_ratio - 0.004, p.perplexity_ratio + 0.004};
  for (std::size_t from = 256; from < 2048; from *= 2) {
    const double late = std::log2(static_cast<double>(from)) / 9;
    p.positions.push_back({from, 2 * from, kl * late, (17 - 1.5 * late) * std::exp(0.8 * kl * late)});
  }
  return p;
}

/// Widths that differ by layer, head and token as those of a policy would.
std::string widths(std::size_t token) {
  std::string digits;
  for (std::size_t i = 0; i < kLayers * 2 * kHeads; ++i) {
    const double wave = std::sin(0.7 * static_cast<double>(token) + 0.31 * static_cast<double>(i % 17)) +
                        std::cos(0.05 * static_cast<double>(i * (token % 5 + 1)));
    digits += static_cast<char>('0' + std::min(4, static_cast<int>(1.2 * (wave + 2))));
  }
  return digits;
}

report::HeatToken token(const std::string& piece, std::size_t index, std::size_t n) {
  report::HeatToken t;
  t.piece = piece;
  t.state = index < 4        ? report::TokenState::kSink
            : index + 40 < n ? report::TokenState::kPacked
                             : report::TokenState::kStaged;
  t.widths = t.state == report::TokenState::kPacked ? widths(index) : std::string(kLayers * 2 * kHeads, '5');
  t.bits = 0;
  for (const char digit : t.widths) t.bits += kv::bits(kv::kAllWidths[digit - '0']);
  t.bits /= static_cast<double>(t.widths.size());
  t.signals = {1, 2.31F, 5.5F, 0.0021F, 0.42F};
  t.record = {true, static_cast<float>(t.bits), 0.034F, 0.001F, 0.2F, 51.7F, 3.25F};
  return t;
}

report::HeatMap heat_map(const std::string& kv) {
  std::vector<std::string> pieces = {"</script>", "<b>", "&amp;"};
  for (const char c : report::sample_text()) {
    if (c == ' ' || c == '\n' || c == ',' || c == '.') pieces.emplace_back();
    pieces.back() += c;
  }
  report::HeatMap map{kv, kLayers, kHeads, {}};
  for (std::size_t i = 0; i < pieces.size(); ++i) map.tokens.push_back(token(pieces[i], i, pieces.size()));
  return map;
}

report::ReportData sample() {
  report::ReportData data;
  data.title = "Invented-135M.Q4_1.gguf";
  data.summary =
      "12,288 tokens scored, in 16 contexts of 1,024, from position 256 on. These figures are invented.";
  data.policies = {policy("f16", 16, 0),
                   policy("q8", 8.42, 0.00003),
                   policy("k8v4", 6.4, 0.0007),
                   policy("q4", 4.5, 0.0046),
                   policy("k4v3", 3.99, 0.0098),
                   policy("q3", 3.53, 0.0201),
                   policy("k3v2", 3.0, 0.0418),
                   policy("q2", 2.56, 0.114),
                   policy("rule", 4.9, 0.012),
                   policy("learned", 3.0, 0.0087),
                   policy("random:1=45,2=15,3=15,4=18,8=7:1", 3.04, 0.061)};
  for (const std::size_t depth : {0, 2048, 8192, 16384}) {
    const auto d = static_cast<double>(depth);
    data.speed.push_back({"f16", depth, 1650 / (1 + d / 9000), 240 / (1 + d / 3000), 0.6, d * 23040});
    data.speed.push_back({"q8", depth, 1610 / (1 + d / 8800), 235 / (1 + d / 5200), 0.5, d * 12200});
    data.speed.push_back({"learned", depth, 1500 / (1 + d / 8500), 228 / (1 + d / 9000), 0.5, d * 4400});
  }
  data.speed_note = "Invented-135M; 2 threads; memory bandwidth 42.0 GB/s";
  data.heat_maps = {heat_map("learned"), heat_map("rule")};
  data.commands = {{"The whole page", "miser eval kl --kv q8 --kv q4 --data text.txt --report report.html"}};
  data.facts = {{"Model", "Invented-135M.Q4_1.gguf, 96.5 MB, hash 0123456789abcdef"},
                {"Machine", "no machine at all, 2 threads, 16 GiB"}};
  return data;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    OutputFile file(argc > 1 ? argv[1] : "");
    report::write_report(file, argc > 2 ? report::ReportData() : sample());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
