#pragma once
#include <span>

#include "learn/score.h"
#include "learn/trace.h"

namespace miser::learn {

/// trace_context with other draws, e.g. given ones. `options.seed` is only noted.
Trace trace_draws(const Model& model, nn::ThreadPool& pool, std::span<const std::int32_t> ids,
                  const TraceOptions& options, const Draw& draw);

}  // namespace miser::learn
