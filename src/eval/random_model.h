#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "eval/shapes.h"
#include "model/model.h"

namespace miser::eval {

/// Writes a model of random weights, scaled so that activations stay of order one, with a vocabulary of
/// made-up tokens: enough for another engine to load it. The context is `context` or the published model's,
/// whichever is longer. The same seed gives the same bytes. Throws Error when `path` cannot be written.
void write_random_model(const Shape& shape, std::size_t context, std::uint64_t seed, const std::string& path);

/// The same model, by way of a temporary file ($TMPDIR or /tmp) that is gone when it returns.
Model make_random_model(const Shape& shape, std::size_t context, std::uint64_t seed);

}  // namespace miser::eval
