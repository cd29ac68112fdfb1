// Reads any bytes as the snapshot of a tiny cache, with checksums made right first. What is neither read nor
// refused by Error is a defect: a crash, a hang, a sanitizer report, another exception, or an allocation past
// -malloc_limit_mb.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "kv/cache_snapshot.h"
#include "policy/price.h"
#include "session/snapshot_file.h"

namespace miser {
namespace {

void seal(std::span<std::byte> bytes) {
  constexpr std::size_t kHead = 12;         // magic and version
  constexpr std::size_t kSectionHead = 16;  // length and checksum
  for (std::size_t at = kHead; at + kSectionHead <= bytes.size();) {
    std::uint64_t size = 0;
    std::memcpy(&size, &bytes[at], sizeof(size));
    if (size > bytes.size() - at - kSectionHead) return;
    Hash hash;
    hash.add(bytes.subspan(at + kSectionHead, size));
    const std::uint64_t value = hash.value();
    std::memcpy(&bytes[at + sizeof(size)], &value, sizeof(value));
    at += kSectionHead + size;
  }
}

kv::CacheConfig config_of(bool limited) {
  kv::CacheConfig config;
  config.n_layers = config.n_kv_heads = config.n_heads = 1;
  config.head_dim = 8;
  config.context = 2048;
  config.window = config.block = 4;
  config.memory = limited ? 1U << 20U : 0;
  config.drop_oldest = config.shift = limited;
  return config;
}

policy::Price price() {
  policy::Plan plan;
  plan.model.n_layers = plan.model.n_kv_heads = 1;
  plan.ladder = {kv::Width::k2, kv::Width::k4};
  plan.error = {{{0.4F, 0.1F, 0.03F, 0.01F, 1e-4F, 0}, {0.4F, 0.1F, 0.03F, 0.01F, 1e-4F, 0}}};
  plan.stored_bits = {1, 2, 3, 4, 8, 16};
  return {plan, 3, std::nullopt};
}

void read(std::span<const std::byte> bytes, const kv::CacheConfig& config) {
  SnapshotReader file(bytes, "fuzz.kv");
  ByteReader header = file.section("header");
  header.get_text("KV policy");
  ByteReader positions = file.section("positions");
  const kv::CachePositions at = kv::read_positions(positions, config);
  ByteReader policy = file.section("policy");
  price().load(policy);
  ByteReader section = file.section("layer");
  const kv::LayerSnapshot layer = kv::read_layer(section, config, at);
  std::size_t n_packed = 0;
  for (const auto& segment : layer.segments) n_packed += segment.n_tokens;
  const std::size_t first = std::max({config.sinks, at.first_kept});
  if (n_packed != 2 * (at.staged_begin - std::min(first, at.staged_begin))) std::abort();
  if (layer.exact_k.size() != layer.exact_v.size()) std::abort();
  expect_end(section, "layer");
  file.end();
}

}  // namespace
}  // namespace miser

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer names it
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto given = std::as_bytes(std::span(data, size));
  std::vector<std::byte> bytes(given.begin(), given.end());
  miser::seal(bytes);
  for (const bool limited : {false, true}) {
    try {
      miser::read(bytes, miser::config_of(limited));
    } catch (const miser::Error&) {
    }
  }
  return 0;
}
