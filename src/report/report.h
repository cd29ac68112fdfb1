#pragma once
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/output_file.h"
#include "policy/recorder.h"
#include "policy/signals.h"

namespace miser::report {

/// A 95 % interval.
struct Range {
  double low = 0;
  double high = 0;
};

/// Figures of the scored tokens at positions [from, to).
struct PositionBucket {
  std::size_t from = 0;
  std::size_t to = 0;
  double kl_mean = 0;  ///< nats
  double perplexity = 0;
};

/// What one policy costs and loses.
struct PolicyResult {
  std::string kv;
  bool runs = true;  ///< whether `miser run --kv` takes it
  double bits_per_element = 0;
  double bytes = 0;    ///< of the cache after a context, mean
  double kl_mean = 0;  ///< KL from f16, nats; also the next three
  double kl_median = 0;
  double kl_p99 = 0;
  double top1 = 0;  ///< share of tokens where the likeliest next token is f16's
  double perplexity = 0;
  double perplexity_ratio = 0;  ///< to f16
  double compressed_share = 0;  ///< of vectors below 16 bits
  std::optional<Range> kl_interval;
  std::optional<Range> top1_interval;
  std::optional<Range> ratio_interval;
  std::vector<PositionBucket> positions;
};

/// Speed of one policy at one depth.
struct SpeedResult {
  std::string kv;
  std::size_t depth = 0;  ///< tokens in the cache
  std::optional<double> prefill_tok_per_s;
  std::optional<double> decode_tok_per_s;
  std::optional<double> roofline_share;  ///< of the tokens that memory bandwidth allows
  std::optional<double> kv_bytes;
};

enum class TokenState { kSink, kPacked, kStaged };

/// One token of a text in the cache.
struct HeatToken {
  std::string piece;  ///< UTF-8
  TokenState state = TokenState::kPacked;
  double bits = 16;              ///< mean nominal width of its vectors
  policy::TokenSignals signals;  ///< the paper's
  policy::TokenRecord record;    ///< ours; only of a packed token
  std::string widths;            ///< [n_layers, K and V, n_kv_heads]: index into kv::kAllWidths as a digit
};

/// A text as one policy stores it.
struct HeatMap {
  std::string kv;
  std::size_t n_layers = 0;
  std::size_t n_kv_heads = 0;
  std::vector<HeatToken> tokens;
};

/// A line for the shell and what it does.
struct Command {
  std::string what;
  std::string line;
};

/// A line of the table at the end: what was measured, on what.
struct Fact {
  std::string name;
  std::string value;
};

/// All that a report shows; empty parts are left out of the page.
struct ReportData {
  std::string title;
  std::string summary;  ///< what was measured, a sentence or two
  std::vector<PolicyResult> policies;
  std::vector<SpeedResult> speed;
  std::string speed_note;  ///< where the speeds come from
  std::vector<HeatMap> heat_maps;
  std::vector<Command> commands;
  std::vector<Fact> facts;
};

/// The data as the page's scripts read them. Adds "hull": indices of the policies that make the lower convex
/// hull of fixed widths in (bits, ln KL).
nlohmann::json to_json(const ReportData& data);

/// The whole page: one file that loads nothing.
std::string page(const ReportData& data);

/// Writes the page and commits the file. Throws Error when that fails; then nothing is left behind.
void write_report(OutputFile& file, const ReportData& data);

}  // namespace miser::report
