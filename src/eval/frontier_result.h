#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "eval/frontier_state.h"

namespace miser::eval {

/// Figures of a frontier: the header's fields, "done" (finished contexts) and "tables", one a text and one of
/// all if there are several: {"text", "contexts", "rows", "equal"}. A row is an arm: {"arm" ("learned@2.25"),
/// "kind", "budget" (null: bits of its own), "contexts", "n" (tokens, of all seeds), "stored_bits" (per
/// element of packed vectors), "bits_per_element" (whole cache), "bytes" and "compressed_share" (as in eval
/// kl), "kl_mean", "kl_median", "kl_p99" (nats), "top1", "perplexity", "perplexity_ratio" (to f16),
/// "learned_ratio" (KL of learned over this arm's, on the contexts that both ran; null where there is none),
/// "ci95": {"kl_mean", "learned_ratio"}}. Rows of kind "best fixed" are the fixed pairs "pairs", mixed to
/// learned's bits: the log-linear interpolation of their KL, on the lower hull. An arm with bits of its own
/// is compared with learned interpolated likewise at its bits. "equal" has, for each fixed pair, the stored
/// bits at which learned reaches its KL. Intervals are 95 % of a bootstrap over contexts, paired; null for
/// one context. REQUIRES: at least one record.
nlohmann::json frontier_result(const FrontierState& state);

/// The same as aligned tables.
std::string frontier_table(const nlohmann::json& result);

}  // namespace miser::eval
