#include "policy/features.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <utility>

#include "base/error.h"

namespace miser::policy {
namespace {

float floored_log(float x) {
  constexpr float kFloor = 1e-10F;
  return std::log(std::max(x, kFloor));
}

/// A token of one source, and what all of its KV heads share.
struct Token {
  const SignalSource& source;
  std::size_t index;
  std::size_t group;
  float received_layer = 0;  ///< mean over KV heads of ln(received)

  /// ln of the mean over a group of what the token received.
  float received(std::size_t head) const {
    const float* of_group = source.received.data() + index * source.n_heads + head * group;
    float sum = 0;
    for (std::size_t i = 0; i < group; ++i) sum += of_group[i];
    return floored_log(sum / static_cast<float>(group));
  }
  float of_head(std::span<const float> values, std::size_t head) const {
    return values[index * source.n_kv_heads + head];
  }
  std::span<const float> vector(std::span<const float> rows, std::size_t head) const {
    return rows.subspan((index * source.n_kv_heads + head) * source.head_dim, source.head_dim);
  }
};

float* put_received_heads(const Token& token, std::size_t head, float* out) {
  const float* of_group = token.source.received.data() + token.index * token.source.n_heads;
  return std::transform(of_group + head * token.group, of_group + (head + 1) * token.group, out, floored_log);
}

float* put_vector(std::span<const float> x, float* out) {
  return std::copy(x.begin(), x.end(), out);
}

/// A signal writes its columns and returns where the next ones go.
using Put = float* (*)(const Token& token, std::size_t head, float* out);

struct Signal {
  std::string_view name;
  enum class Columns : std::uint8_t { kOne, kGroup, kHeadDim, kPairs } columns;
  Put put;
};

template <auto kValue>
float* put_one(const Token& token, std::size_t head, float* out) {
  *out = kValue(token, head);
  return out + 1;
}

float received_of(const Token& t, std::size_t head) {
  return t.received(head);
}
float received_sq_of(const Token& t, std::size_t head) {
  return floored_log(t.of_head(t.source.received_sq, head));
}
float received_max_of(const Token& t, std::size_t head) {
  return floored_log(t.of_head(t.source.received_max, head));
}
float received_layer_of(const Token& t, std::size_t) {
  return t.received_layer;
}
float received_below_of(const Token& t, std::size_t) {
  return t.source.received_below[t.index];
}
float k_norm2_of(const Token& t, std::size_t head) {
  return floored_log(t.of_head(t.source.k_norm2, head));
}
float v_norm2_of(const Token& t, std::size_t head) {
  return floored_log(t.of_head(t.source.v_norm2, head));
}
float position_of(const Token& t, std::size_t) {
  return std::log(static_cast<float>(t.source.first_position + t.index + 1));
}
float* put_k(const Token& t, std::size_t head, float* out) {
  return put_vector(t.vector(t.source.k, head), out);
}
float* put_k_pairs(const Token& t, std::size_t head, float* out) {
  const auto k = t.vector(t.source.k, head);
  for (std::size_t i = 0; i + 1 < k.size(); i += 2) *out++ = k[i] * k[i] + k[i + 1] * k[i + 1];
  return out;
}
float* put_v(const Token& t, std::size_t head, float* out) {
  return put_vector(t.vector(t.source.v, head), out);
}

using Columns = Signal::Columns;
constexpr Signal kSignals[] = {
    {"received", Columns::kOne, put_one<received_of>},
    {"received_sq", Columns::kOne, put_one<received_sq_of>},
    {"received_max", Columns::kOne, put_one<received_max_of>},
    {"received_heads", Columns::kGroup, put_received_heads},
    {"received_layer", Columns::kOne, put_one<received_layer_of>},
    {"received_below", Columns::kOne, put_one<received_below_of>},
    {"k_norm2", Columns::kOne, put_one<k_norm2_of>},
    {"v_norm2", Columns::kOne, put_one<v_norm2_of>},
    {"position", Columns::kOne, put_one<position_of>},
    {"k", Columns::kHeadDim, put_k},
    {"k_pairs", Columns::kPairs, put_k_pairs},
    {"v", Columns::kHeadDim, put_v},
};

const Signal* find_signal(std::string_view name) {
  const auto found = std::find_if(std::begin(kSignals), std::end(kSignals),
                                  [&](const Signal& signal) { return signal.name == name; });
  return found == std::end(kSignals) ? nullptr : found;
}

}  // namespace

bool is_signal(std::string_view name) {
  return find_signal(name) != nullptr;
}

std::string signal_names() {
  std::vector<std::string_view> names;
  for (const Signal& signal : kSignals) names.push_back(signal.name);
  return fmt::to_string(fmt::join(names, ", "));
}

SignalSet::SignalSet(std::vector<std::string> names, std::size_t group, std::size_t head_dim)
    : names_(std::move(names)) {
  for (const std::string& name : names_) {
    const Signal* signal = find_signal(name);
    if (signal == nullptr) fail("unknown signal '{}', expected one of {}", name, signal_names());
    const auto columns = signal->columns;
    columns_ += columns == Columns::kOne     ? 1
                : columns == Columns::kGroup ? group
                : columns == Columns::kPairs ? head_dim / 2
                                             : head_dim;
  }
}

bool SignalSet::wants(std::string_view name) const {
  return std::find(names_.begin(), names_.end(), name) != names_.end();
}

bool SignalSet::wants_received() const {
  return std::any_of(names_.begin(), names_.end(), [](const auto& name) { return name.starts_with("rec"); });
}

bool SignalSet::wants_norms() const {
  return wants("k_norm2") || wants("v_norm2");
}

bool SignalSet::wants_vectors() const {
  return wants("k") || wants("k_pairs") || wants("v");
}

void SignalSet::compute(const SignalSource& source, std::span<float> out) const {
  assert(out.size() == source.n * source.n_kv_heads * columns_);
  std::vector<Put> puts;
  for (const std::string& name : names_) puts.push_back(find_signal(name)->put);
  std::vector<float> layer(wants("received_layer") ? source.n : 0);
  if (!layer.empty()) mean_log_received(source, layer);
  float* to = out.data();
  for (std::size_t i = 0; i < source.n; ++i) {
    const Token token{source, i, source.n_heads / source.n_kv_heads, layer.empty() ? 0 : layer[i]};
    for (std::size_t head = 0; head < source.n_kv_heads; ++head) {
      for (const Put put : puts) to = put(token, head, to);
    }
  }
}

void mean_log_received(const SignalSource& source, std::span<float> out) {
  for (std::size_t i = 0; i < source.n; ++i) {
    const Token token{source, i, source.n_heads / source.n_kv_heads};
    float sum = 0;
    for (std::size_t head = 0; head < source.n_kv_heads; ++head) sum += token.received(head);
    out[i] = sum / static_cast<float>(source.n_kv_heads);
  }
}

}  // namespace miser::policy
