#include "report/report.h"

#include <cassert>
#include <cmath>
#include <span>

#include "kv/width.h"
#include "report/hull.h"
#include "report/page.h"

namespace miser::report {
namespace {

using nlohmann::json;

json to_json(const std::optional<Range>& range) {
  return range ? json{range->low, range->high} : json(nullptr);
}

json to_json(const std::optional<double>& value) {
  return value ? json(*value) : json(nullptr);
}

/// f16, qN and kNvM: one width for all keys and one for all values.
bool is_fixed(const std::string& kv) {
  return kv.find_first_not_of("fqkv0123456789") == std::string::npos;
}

json to_json(const PolicyResult& policy) {
  json positions = json::array();
  for (const PositionBucket& bucket : policy.positions) {
    positions.push_back({{"from", bucket.from},
                         {"to", bucket.to},
                         {"kl_mean", bucket.kl_mean},
                         {"perplexity", bucket.perplexity}});
  }
  return {{"kv", policy.kv},
          {"fixed", is_fixed(policy.kv)},
          {"runs", policy.runs},
          {"bits", policy.bits_per_element},
          {"bytes", policy.bytes},
          {"kl_mean", policy.kl_mean},
          {"kl_median", policy.kl_median},
          {"kl_p99", policy.kl_p99},
          {"kl_interval", to_json(policy.kl_interval)},
          {"top1", policy.top1},
          {"top1_interval", to_json(policy.top1_interval)},
          {"perplexity", policy.perplexity},
          {"ratio", policy.perplexity_ratio},
          {"ratio_interval", to_json(policy.ratio_interval)},
          {"compressed", policy.compressed_share},
          {"positions", std::move(positions)}};
}

json to_json(const SpeedResult& speed) {
  return {{"kv", speed.kv},
          {"depth", speed.depth},
          {"prefill", to_json(speed.prefill_tok_per_s)},
          {"decode", to_json(speed.decode_tok_per_s)},
          {"roofline", to_json(speed.roofline_share)},
          {"bytes", to_json(speed.kv_bytes)}};
}

/// [piece, state, bits, widths, signals]; heat.js names the signals in the same order.
json to_json(const HeatToken& token) {
  const policy::TokenSignals& s = token.signals;
  json signals = {s.entropy, s.confidence, s.rarity, s.attention_variance};
  if (token.state == TokenState::kPacked) {
    const policy::TokenRecord& r = token.record;
    for (const float value : {r.received, r.received_max, r.k_norm2, r.v_norm2}) signals.push_back(value);
  }
  return {token.piece, static_cast<int>(token.state), token.bits, token.widths, std::move(signals)};
}

json to_json(const HeatMap& map) {
  json tokens = json::array();
  for (const HeatToken& token : map.tokens) tokens.push_back(to_json(token));
  return {{"kv", map.kv},
          {"n_layers", map.n_layers},
          {"n_kv_heads", map.n_kv_heads},
          {"tokens", std::move(tokens)}};
}

template <class T>
json all_to_json(const std::vector<T>& values) {
  json all = json::array();
  for (const T& value : values) all.push_back(to_json(value));
  return all;
}

std::vector<std::size_t> fixed_hull(const std::vector<PolicyResult>& policies) {
  std::vector<Point> points;
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < policies.size(); ++i) {
    if (!is_fixed(policies[i].kv) || policies[i].kl_mean <= 0) continue;
    points.push_back({policies[i].bits_per_element, std::log(policies[i].kl_mean)});
    indices.push_back(i);
  }
  std::vector<std::size_t> hull = lower_hull(points);
  for (std::size_t& i : hull) i = indices[i];
  return hull;
}

/// JSON that cannot end the script element that it lies in: "<" occurs in strings only.
std::string escaped(const json& data) {
  std::string out;
  for (const char c : data.dump(-1, ' ', false, json::error_handler_t::replace)) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

json to_json(const ReportData& data) {
  json widths = json::array();
  for (const kv::Width width : kv::kAllWidths) widths.push_back(kv::bits(width));
  json commands = json::array();
  for (const Command& command : data.commands) commands.push_back({command.what, command.line});
  json facts = json::array();
  for (const Fact& fact : data.facts) facts.push_back({fact.name, fact.value});
  return {{"title", data.title},
          {"summary", data.summary},
          {"policies", all_to_json(data.policies)},
          {"hull", fixed_hull(data.policies)},
          {"speed", all_to_json(data.speed)},
          {"speed_note", data.speed_note},
          {"widths", std::move(widths)},
          {"heat_maps", all_to_json(data.heat_maps)},
          {"commands", std::move(commands)},
          {"facts", std::move(facts)}};
}

std::string page(const ReportData& data) {
  std::string text(page_template());
  const std::size_t at = text.find(kDataMark);
  assert(at != std::string::npos);
  return text.replace(at, kDataMark.size(), escaped(to_json(data)));
}

void write_report(OutputFile& file, const ReportData& data) {
  const std::string text = page(data);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace miser::report
