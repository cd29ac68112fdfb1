#include "policy/unturned_keys.h"

#include <utility>

#include "nn/ops.h"
#include "nn/rope.h"

namespace miser::policy {

UnturnedKeys::UnturnedKeys(std::vector<float> frequencies)
    : frequencies_(std::move(frequencies)),
      position_(frequencies_.empty() ? 0 : kRemembered, kNone),
      cos_sin_(position_.size() * 2 * frequencies_.size()) {}

std::span<const float> UnturnedKeys::cos_sin(std::size_t position) {
  const std::size_t place = position % kRemembered;
  const auto angles = std::span(cos_sin_).subspan(place * 2 * frequencies_.size(), 2 * frequencies_.size());
  if (position_[place] != position) {
    nn::rope_cos_sin(position, frequencies_, angles);
    for (std::size_t i = 1; i < angles.size(); i += 2) angles[i] = -angles[i];
    position_[place] = position;
  }
  return angles;
}

void UnturnedKeys::turn_back(std::span<float> keys, std::size_t n_kv_heads, std::size_t head_dim,
                             std::size_t first) {
  if (frequencies_.empty()) return;
  const std::size_t per_token = n_kv_heads * head_dim;
  for (std::size_t at = 0; at < keys.size(); at += per_token)
    nn::apply_rope(keys.subspan(at, per_token), n_kv_heads, head_dim, cos_sin(first + at / per_token));
}

}  // namespace miser::policy
