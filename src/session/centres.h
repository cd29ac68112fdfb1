#pragma once
#include <string>

#include "kv/cache.h"
#include "model/config.h"

namespace miser {

/// Reads the vectors that the cache subtracts before it quantises: a GGUF with two F32 tensors, `centre.k`
/// and `centre.v`, of shape [head_dim, n_kv_heads, n_layers] in GGUF order. Throws Error naming file, tensor,
/// found and expected when one is missing, does not fit `model`, or holds a value that is no finite number.
kv::Centres read_centres(const std::string& path, const ModelConfig& model);

}  // namespace miser
