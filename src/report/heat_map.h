#pragma once
#include <string_view>

#include "model/model.h"
#include "nn/thread_pool.h"
#include "report/report.h"
#include "session/session.h"
#include "tokenizer/tokenizer.h"

namespace miser::report {

/// Longest text of a heat map, in tokens: its page is then below a megabyte, and still readable.
inline constexpr std::size_t kMaxHeatTokens = 2000;

/// Feeds `text` to the model under the policy of `options` and reads back what the cache holds. Throws Error
/// when the text is empty or longer than kMaxHeatTokens.
HeatMap heat_map(const Model& model, nn::ThreadPool& pool, const Tokenizer& tokenizer, SessionOptions options,
                 std::string_view text);

}  // namespace miser::report
