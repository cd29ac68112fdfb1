#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "eval/kl_state.h"

namespace miser::eval {

/// Figures of a state, all sums in the order of contexts: the header's fields, "done" (finished contexts),
/// "n" (scored tokens) and "rows", one a policy: {"kv", "bits_per_element", "bytes", "bytes_f16" (mean of a
/// context), "vectors_at", "compressed_share" (of vectors below 16 bits), "kl_mean", "kl_median", "kl_p99",
/// "kl_max" (nats), "top1", "perplexity", "perplexity_ratio" (to f16), "n", "ci95": {"kl_mean", "top1",
/// "perplexity", "perplexity_ratio"}, "positions": [{"from", "to", "n", "kl_mean", "top1", "perplexity"}]}.
/// Intervals are 95 % of a bootstrap over contexts, the same draws for every policy; null for one context.
/// Positions are in buckets [2^i, 2^(i + 1)). REQUIRES: at least one record.
nlohmann::json kl_result(const KlState& state);

/// The same as aligned tables.
std::string kl_table(const nlohmann::json& result);

/// Lines {"context", "pos", "id", "logprob": {policy: x}, "kl": {policy: x}}: position `pos` of a context
/// predicts token `id` at pos + 1.
std::string per_token_lines(const KlState& state);

}  // namespace miser::eval
