#pragma once
#include <vector>

namespace miser::kv {

/// Fixed vectors subtracted before quantising, [n_layers, n_kv_heads, head_dim] each; empty means zero.
struct Centres {
  std::vector<float> k;
  std::vector<float> v;
};

}  // namespace miser::kv
