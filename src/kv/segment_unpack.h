#pragma once
#include "kv/packed_groups.h"
#include "kv/segment.h"

namespace miser::kv {

/// Reads the vectors of 1 to 8 bits into their rows of `tile`, whose size is set, with their corrections.
void unpack_coded(const Groups& groups, const Side& side, Tile& tile);

}  // namespace miser::kv
