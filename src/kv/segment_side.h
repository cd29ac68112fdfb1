#pragma once
#include <cstdint>
#include <span>

#include "kv/codec.h"
#include "kv/rotation.h"

namespace miser::kv {

/// Keys are multiplied token by token and values channel by channel, so their codes lie differently.
enum class SideKind : std::uint8_t { kKeys, kValues };

/// What the vectors of one (layer, KV head, K or V) have in common. Views; the cache owns them.
struct Side {
  const Rotation* rotation;
  std::span<const float> centre;  ///< head_dim; subtracted before the rotation
  ScaleRule rule;
  SideKind kind = SideKind::kKeys;
};

}  // namespace miser::kv
