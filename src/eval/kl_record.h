#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kv/width.h"

namespace miser::eval {

/// What one policy makes of one context. Arrays run over its scored positions.
struct ArmScores {
  std::vector<float> kl;       ///< KL(reference || policy), nats
  std::vector<float> logprob;  ///< of the next token, nats
  std::string top;             ///< '1' where the likeliest token is the reference's, '0' elsewhere
  std::size_t bytes = 0;       ///< of the cache after the last token
  std::array<std::uint64_t, kv::kWidthCount> vectors_at{};
};

/// One context under all policies.
struct ContextRecord {
  std::size_t context = 0;
  std::size_t bytes_f16 = 0;      ///< what `bytes` would be in binary16
  std::vector<std::int32_t> ids;  ///< the tokens that followed the scored positions
  std::vector<ArmScores> arms;    ///< in the order of the run's policies
};

/// One line of a state: {"context", "bytes_f16", "ids", "arms": [{"kl", "logprob", "top", "bytes",
/// "vectors_at"}]}. Floats are the 8 hexadecimal digits of their bits, so that they come back exactly.
nlohmann::json to_json(const ContextRecord& record);

/// Throws std::exception when a field is missing or malformed, or the arrays are not of `n_scored` elements
/// for `n_arms` policies.
ContextRecord to_context_record(const nlohmann::json& line, std::size_t n_arms, std::size_t n_scored);

}  // namespace miser::eval
