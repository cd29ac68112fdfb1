#include "cli/train_latency.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"

namespace miser::cli {
namespace {

constexpr std::array<const char*, 4> kPolicies = {"q2", "q4", "q8", "f16"};

/// Decoding speeds by depth, tokens per second, of each policy.
using Speeds = std::map<std::int64_t, std::array<double, kPolicies.size()>>;

Speeds read_speeds(const std::string& path) {
  const MappedFile file(path);
  const auto* const begin = reinterpret_cast<const char*>(file.bytes().data());
  Speeds speeds;
  try {
    const auto result = nlohmann::json::parse(begin, begin + file.bytes().size());
    for (const auto& row : result.at("rows")) {
      const auto name = row.at("kv").get<std::string>();
      const auto found = std::find(kPolicies.begin(), kPolicies.end(), name);
      const auto& speed = row.at("decode_tok_per_s");
      if (found == kPolicies.end() || speed.is_null()) continue;
      speeds[row.at("depth").get<std::int64_t>()][found - kPolicies.begin()] = speed.get<double>();
    }
  } catch (const nlohmann::json::exception& e) {
    fail("{}: expected the output of miser bench --json: {}", path, e.what());
  }
  return speeds;
}

}  // namespace

std::array<double, 4> read_latencies(const std::string& path) {
  const Speeds speeds = read_speeds(path);
  const auto complete = std::find_if(speeds.rbegin(), speeds.rend(), [](const auto& depth) {
    return std::all_of(depth.second.begin(), depth.second.end(), [](double speed) { return speed > 0; });
  });
  if (complete == speeds.rend())
    fail("{}: found no depth with decoding speeds of all of q2, q4, q8 and f16", path);
  std::array<double, 4> seconds{};
  std::transform(complete->second.begin(), complete->second.end(), seconds.begin(),
                 [](double speed) { return 1 / speed; });
  const double largest = *std::max_element(seconds.begin(), seconds.end());
  for (double& value : seconds) value /= largest;
  return seconds;
}

}  // namespace miser::cli
