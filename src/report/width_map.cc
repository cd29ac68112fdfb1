#include "report/width_map.h"

#include <algorithm>

namespace miser::report {
namespace {

/// f(position, segment, index in it) for each packed token of a layer.
template <class F>
void for_each_packed(const kv::LayerCache& layer, F&& f) {
  constexpr std::size_t kTokens = kv::Segment::kMaxTokens;
  for (std::size_t position = layer.sinks; position < layer.staged_begin; ++position) {
    const std::size_t segment = position / kTokens;
    f(position, segment, position - std::max(segment * kTokens, layer.sinks));
  }
}

}  // namespace

WidthMap width_map(const kv::Cache& cache) {
  const kv::CacheConfig& config = cache.config();
  WidthMap map{cache.size(), config.n_layers, config.n_kv_heads, {}};
  map.widths.assign(map.n_tokens * map.per_token(), kv::Width::k16);
  for (std::size_t l = 0; l < map.n_layers; ++l) {
    const kv::LayerCache& layer = cache.layer(l);
    for (std::size_t h = 0; h < map.n_kv_heads; ++h) {
      for_each_packed(layer, [&](std::size_t position, std::size_t segment, std::size_t index) {
        const std::size_t k = position * map.per_token() + 2 * l * map.n_kv_heads + h;
        map.widths[k] = layer.heads[h].k[segment].width(index);
        map.widths[k + map.n_kv_heads] = layer.heads[h].v[segment].width(index);
      });
    }
  }
  return map;
}

}  // namespace miser::report
