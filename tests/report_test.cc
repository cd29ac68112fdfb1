#include "report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <random>

#include "report/hull.h"
#include "report/page.h"
#include "report/read.h"
#include "temporary_folder.h"

namespace miser::report {
namespace {

using nlohmann::json;
using test::error_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A folder of its own that goes away.
class Report : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder_.file(name); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name)) << text;
    return path(name);
  }
  std::string read(const std::string& name) const {
    std::ifstream file(path(name));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::vector<std::string> files() const { return folder_.names(); }

 private:
  test::TemporaryFolder folder_;
};

ReportData with_token(const std::string& piece) {
  ReportData data;
  data.heat_maps.push_back({"q4", 1, 1, {}});
  data.heat_maps[0].tokens.push_back({piece, TokenState::kPacked, 4, {}, {}, "33"});
  return data;
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

/// The data block, found as a browser finds it: up to the first end tag.
std::string data_block(const std::string& text) {
  const std::string begin = "id=\"data\">";
  const std::size_t at = text.find(begin) + begin.size();
  return text.substr(at, text.find("</script", at) - at);
}

TEST_F(Report, TextCannotEndItsScriptElement) {
  for (const std::string piece : {"</script>", "<!--<script>", "a\"b\\n\n", "@DATA@", "@STYLE@"}) {
    const std::string text = page(with_token(piece));
    EXPECT_EQ(count(text, "</script"), 2U) << piece;
    EXPECT_EQ(json::parse(data_block(text))["heat_maps"][0]["tokens"][0][0], piece);
  }
}

TEST_F(Report, MalformedTextBecomesReplacementCharacters) {
  const json data = json::parse(data_block(page(with_token("a\xE2"))));
  EXPECT_EQ(data["heat_maps"][0]["tokens"][0][0], "a\uFFFD");
}

TEST_F(Report, PageLoadsNothing) {
  const std::string text = page({});
  for (const std::string forbidden :
       {" src=", "<link", "@import", "url(", "fetch(", "XMLHttpRequest", "import("})
    EXPECT_EQ(count(text, forbidden), 0U) << forbidden;
  EXPECT_EQ(count(text, "http"), count(text, "http://www.w3.org/2000/svg"));
  EXPECT_LT(text.size(), 100'000U);
}

TEST_F(Report, IsWrittenWhole) {
  const std::string file = path("out.html");
  OutputFile out(file);
  write_report(out, with_token("x"));
  EXPECT_EQ(read("out.html"), page(with_token("x")));
  EXPECT_THAT(files(), ElementsAre("out.html"));
}

TEST_F(Report, OlderPageStaysUntilTheNewOneIsThere) {
  write("out.html", "old");
  { OutputFile out(path("out.html")); }
  EXPECT_EQ(read("out.html"), "old");
  EXPECT_THAT(files(), ElementsAre("out.html"));
}

TEST_F(Report, FullDiskIsOneClearLine) {
  EXPECT_EQ(error_of([] {
              OutputFile out("/dev/full");
              write_report(out, {});
            }),
            "/dev/full: cannot write: No space left on device");
}

TEST_F(Report, HullIsTheLowestLineBelowAllPoints) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<Point> points(1 + trial % 12);
    for (Point& p : points) p = {uniform(random), uniform(random)};
    const auto hull = lower_hull(points);
    ASSERT_FALSE(hull.empty());
    // By brute force: a corner is a point that no chord of two others, and no point to its left, undercuts.
    std::vector<std::size_t> expected;
    for (std::size_t i = 0; i < points.size(); ++i) {
      bool corner = true;
      for (const Point& a : points) {
        corner &= !(a.x < points[i].x && a.y <= points[i].y);
        for (const Point& b : points) {
          if (!(a.x < points[i].x && points[i].x < b.x)) continue;
          corner &= a.y + (b.y - a.y) * (points[i].x - a.x) / (b.x - a.x) >= points[i].y;
        }
      }
      if (corner) expected.push_back(i);
    }
    std::sort(expected.begin(), expected.end(),
              [&](std::size_t a, std::size_t b) { return points[a].x < points[b].x; });
    EXPECT_EQ(hull, expected);
  }
}

TEST_F(Report, HullIsOfFixedWidthsThatLoseSomething) {
  ReportData data;
  for (const auto& [kv, bits, kl] : std::vector<std::tuple<std::string, double, double>>{
           {"f16", 16, 0}, {"q2", 2.5, 0.1}, {"rule", 2.6, 1e-6}, {"k4v3", 4, 0.2}, {"q4", 4.5, 0.004}}) {
    data.policies.emplace_back();
    data.policies.back().kv = kv;
    data.policies.back().bits_per_element = bits;
    data.policies.back().kl_mean = kl;
  }
  EXPECT_EQ(to_json(data)["hull"], json({1, 4}));
}

json kl_result() {
  return json::parse(R"({"task": "kl", "model": {"name": "m.gguf", "bytes": 96500000, "hash": "ab"},
    "kv": ["f16", "q2"], "kv_window": 32, "kv_block": 32, "kv_scales": "unbiased", "shard": "0/1", "text": "cd",
    "contexts": 4, "context": 1024, "skip": 256, "reference": {"name": "f16"}, "done": 3, "n": 2301, "rows": [
    {"kv": "q2", "bits_per_element": 2.5, "bytes": 100.5, "bytes_f16": 800, "vectors_at": {}, "compressed_share": 0.9,
     "kl_mean": 0.1, "kl_median": 0.02, "kl_p99": 1.5, "kl_max": 3, "top1": 0.8, "perplexity": 16,
     "perplexity_ratio": 1.1, "n": 2301, "ci95": {"kl_mean": [0.09, 0.11], "top1": [0.7, 0.9],
     "perplexity": [15, 17], "perplexity_ratio": [1.05, 1.15]},
     "positions": [{"from": 256, "to": 512, "n": 3, "kl_mean": 0.05, "top1": 0.9, "perplexity": 17}]}]})");
}

TEST_F(Report, ReadsWhatEvalKlPrints) {
  ReportData data;
  add_kl(kl_result(), data);
  EXPECT_EQ(data.title, "m.gguf");
  EXPECT_THAT(data.summary, HasSubstr("2301 tokens scored, in 3 contexts of 1024, from position 256 on."));
  ASSERT_EQ(data.policies.size(), 1U);
  const PolicyResult& q2 = data.policies[0];
  EXPECT_EQ(q2.bits_per_element, 2.5);
  EXPECT_EQ(q2.kl_p99, 1.5);
  EXPECT_EQ(q2.kl_interval->high, 0.11);
  EXPECT_EQ(q2.top1_interval->low, 0.7);
  EXPECT_EQ(q2.ratio_interval->low, 1.05);
  EXPECT_EQ(q2.positions[0].perplexity, 17);
  EXPECT_EQ(data.facts[0].value, "m.gguf, 96.5 MB, hash ab");
  EXPECT_EQ(data.facts[1].value, "3 of 4 contexts of 1024 tokens, hash cd");
}

TEST_F(Report, HasNoIntervalsOfOneContext) {
  json result = kl_result();
  result["rows"][0]["ci95"] = nullptr;
  ReportData data;
  add_kl(result, data);
  EXPECT_FALSE(data.policies[0].kl_interval || data.policies[0].top1_interval ||
               data.policies[0].ratio_interval);
}

TEST_F(Report, ReadsWhatBenchPrints) {
  const std::string file =
      write("bench.json", R"({"model": "m.gguf", "threads": 2, "bandwidth_gb_per_s": 42.04,
    "machine": {"cpu": "Some CPU"}, "rows": [{"kv": "q4", "depth": 2048, "prefill_tok_per_s": null,
    "decode_tok_per_s": 101.5, "roofline_share": 0.5, "kv_bytes": 12345}]})");
  ReportData data;
  add_bench(file, data);
  ASSERT_EQ(data.speed.size(), 1U);
  EXPECT_EQ(data.speed[0].kv, "q4");
  EXPECT_EQ(data.speed[0].depth, 2048U);
  EXPECT_EQ(data.speed[0].prefill_tok_per_s, std::nullopt);
  EXPECT_EQ(data.speed[0].decode_tok_per_s, 101.5);
  EXPECT_EQ(data.speed[0].kv_bytes, 12345);
  EXPECT_EQ(data.speed_note, "m.gguf; Some CPU; 2 threads; memory bandwidth 42.0 GB/s");
}

TEST_F(Report, SaysWhereABenchFileIsWrong) {
  const auto error = [&](const std::string& text) {
    ReportData data;
    return error_of([&] { add_bench(write("bench.json", text), data); });
  };
  const std::string file = path("bench.json");
  const std::string no_bench =
      file + ": expected one JSON object with \"rows\", as miser bench --json prints it";
  for (const char* text : {"{", "[]", "{}", "{\"rows\": 3}"}) EXPECT_EQ(error(text), no_bench) << text;
  EXPECT_THAT(error(R"({"rows": [{"kv": "q4", "depth": 0}, 7]})"),
              HasSubstr(file + ": rows[1]: expected a policy"));
  EXPECT_THAT(error(R"({"rows": [{"kv": "q4", "depth": -1}]})"),
              HasSubstr("rows[0]: expected a count of tokens"));
  EXPECT_THAT(error(R"({"rows": [{"kv": "q4", "depth": 0, "decode_tok_per_s": "fast"}]})"),
              HasSubstr("rows[0]: expected a number \"decode_tok_per_s\""));
  EXPECT_THAT(error_of([&] {
                ReportData data;
                add_bench(path("missing.json"), data);
              }),
              HasSubstr("missing.json"));
}

TEST_F(Report, SampleTextIsThere) {
  EXPECT_THAT(std::string(sample_text()), ::testing::StartsWith("A language model reads"));
}

}  // namespace
}  // namespace miser::report
