#pragma once
#include <cstddef>
#include <cstdint>

#include "learn/trace.h"
#include "policy/plan.h"
#include "policy/replay.h"

namespace miser::eval {

/// Positions [begin, end) of a context that left the window.
struct Committed {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// The widths of `table`, permuted over the committed tokens of each (side, layer, head): as many vectors of
/// each width, so as many bytes, but another token's. The same seed gives the same permutations.
policy::WidthTable shuffled(const policy::WidthTable& table, Committed tokens, std::uint64_t seed);

/// The widths of `table` in reverse: the token of the largest width of a (side, layer, head) gets its
/// smallest. Of equal widths, the earlier token counts as the smaller.
policy::WidthTable inverted(const policy::WidthTable& table, Committed tokens);

/// The widths that minimise the sum of true sensitivity * error + price * bits, at the price where the mean
/// stored bits of the trace's vectors meet `bits`. Sensitivities count per future query, so that nothing
/// knows where the text ends. Vectors that are not in the trace keep 16 bits.
policy::WidthTable oracle(const learn::Trace& trace, const policy::Plan& plan, double bits);

}  // namespace miser::eval
