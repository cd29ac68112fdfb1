#include "eval/kl_record.h"

#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <stdexcept>

namespace miser::eval {
namespace {

using nlohmann::json;

constexpr std::size_t kDigits = 8;

std::string to_hex(const std::vector<float>& values) {
  std::string text;
  text.reserve(kDigits * values.size());
  for (const float value : values)
    fmt::format_to(std::back_inserter(text), "{:08x}", std::bit_cast<std::uint32_t>(value));
  return text;
}

std::vector<float> from_hex(const std::string& text, std::size_t n) {
  if (text.size() != kDigits * n)
    throw std::runtime_error(fmt::format("found {} digits, expected {}", text.size(), kDigits * n));
  std::vector<float> values;
  values.reserve(n);
  for (const char* at = text.data(); at != text.data() + text.size(); at += kDigits) {
    std::uint32_t bits = 0;
    const auto [end, error] = std::from_chars(at, at + kDigits, bits, 16);
    if (error != std::errc() || end != at + kDigits)
      throw std::runtime_error(
          fmt::format("found '{}', expected 8 hexadecimal digits", std::string(at, kDigits)));
    values.push_back(std::bit_cast<float>(bits));
  }
  return values;
}

ArmScores to_arm(const json& in, std::size_t n_scored) {
  ArmScores arm;
  arm.kl = from_hex(in.at("kl").get_ref<const std::string&>(), n_scored);
  arm.logprob = from_hex(in.at("logprob").get_ref<const std::string&>(), n_scored);
  arm.top = in.at("top").get<std::string>();
  arm.bytes = in.at("bytes").get<std::size_t>();
  arm.vectors_at = in.at("vectors_at").get<decltype(arm.vectors_at)>();
  if (arm.top.size() != n_scored || arm.top.find_first_not_of("01") != std::string::npos)
    throw std::runtime_error(fmt::format("'top' is not {} times 0 or 1", n_scored));
  return arm;
}

}  // namespace

json to_json(const ContextRecord& record) {
  json arms = json::array();
  for (const ArmScores& arm : record.arms) {
    arms.push_back({{"kl", to_hex(arm.kl)},
                    {"logprob", to_hex(arm.logprob)},
                    {"top", arm.top},
                    {"bytes", arm.bytes},
                    {"vectors_at", arm.vectors_at}});
  }
  return {{"context", record.context},
          {"bytes_f16", record.bytes_f16},
          {"ids", record.ids},
          {"arms", std::move(arms)}};
}

ContextRecord to_context_record(const json& line, std::size_t n_arms, std::size_t n_scored) {
  ContextRecord record;
  record.context = line.at("context").get<std::size_t>();
  record.bytes_f16 = line.at("bytes_f16").get<std::size_t>();
  record.ids = line.at("ids").get<std::vector<std::int32_t>>();
  for (const json& arm : line.at("arms")) record.arms.push_back(to_arm(arm, n_scored));
  if (record.ids.size() != n_scored || record.arms.size() != n_arms || record.bytes_f16 == 0)
    throw std::runtime_error(fmt::format("expected {} policies and {} ids", n_arms, n_scored));
  return record;
}

}  // namespace miser::eval
