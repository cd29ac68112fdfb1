#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "gguf/file.h"

// How single fields of a plan file are read: each function throws Error that names file, field, found and
// expected.
namespace miser::policy {

std::uint64_t read_uint(const gguf::File& file, std::string_view key, std::uint64_t low, std::uint64_t high);
std::string_view read_string(const gguf::File& file, std::string_view key);
float read_number(const gguf::File& file, std::string_view key, float low, float high);

/// Values that a tensor may hold.
enum class Values : std::uint8_t { kFinite, kNotNegative, kPositive };

/// The tensor `name` of F32 or F16 with exactly this shape, in GGUF order (row length first; trailing
/// dimensions of 1 may be missing).
std::vector<float> read_tensor(const gguf::File& file, std::string_view name,
                               std::span<const std::uint64_t> shape, Values values = Values::kFinite);

}  // namespace miser::policy
