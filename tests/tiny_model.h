#pragma once
#include <cstdint>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "kv/cache.h"
#include "session/session.h"

namespace miser::test {

/// A reference array in row-major order.
struct Array {
  std::vector<std::size_t> shape;
  std::span<const float> values;
};

/// A pass of tests/reference/cache_reference.py through the mixed-width cache. Arrays by name: logits
/// [n, n_vocab], token_signals [n, 4], widths [n_layers, K and V, n, n_kv_heads], received [n_layers, n,
/// n_heads], received_sq, received_max, k_norm2, v_norm2 [n_layers, n, n_kv_heads]; of f16 also columns
/// [n_layers, n, n_kv_heads, F], the signals of policy/features.h in the order of test::all_signals().
struct TinyRun {
  std::string kv;
  std::size_t window;
  std::size_t block;
  kv::ScaleRule scales;
  bool centred;
  nlohmann::json arrays;
};

/// A random model of tests/make_tiny_models.py and what NumPy makes of it.
class TinyModel {
 public:
  explicit TinyModel(const nlohmann::json& entry);

  std::string name;
  std::string path;
  std::vector<std::int32_t> tokens;
  std::vector<TinyRun> runs;

  /// Logits of float64 attention over K and V as they are, not even rounded to binary16.
  Array exact_logits() const { return find(logits_); }
  Array array(const TinyRun& run, const std::string& key) const { return find(run.arrays.at(key)); }
  kv::Centres centres(const TinyRun& run) const;
  SessionOptions options(const TinyRun& run) const;
  /// "f32_long, q4, window 32, block 32": for SCOPED_TRACE.
  std::string describe(const TinyRun& run) const;

 private:
  Array find(const nlohmann::json& entry) const;

  nlohmann::json logits_;
  nlohmann::json centres_;
  std::vector<float> data_;
};

inline TinyModel::TinyModel(const nlohmann::json& entry)
    : name(entry.at("name")),
      path(MISER_FIXTURES "/tiny/" + entry.at("file").get<std::string>()),
      tokens(entry.at("tokens").get<std::vector<std::int32_t>>()),
      logits_(entry.at("logits")),
      centres_(entry.at("centres")) {
  std::ifstream file(MISER_FIXTURES "/tiny/" + entry.at("data").get<std::string>(), std::ios::binary);
  file.seekg(0, std::ios::end);
  data_.resize(static_cast<std::size_t>(file.tellg()) / sizeof(float));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(data_.data()),
            static_cast<std::streamsize>(data_.size() * sizeof(float)));
  for (const auto& run : entry.at("runs")) {
    const bool unbiased = run.at("unbiased");
    runs.push_back({run.at("kv"), run.at("window"), run.at("block"),
                    unbiased ? kv::ScaleRule::kUnbiased : kv::ScaleRule::kLeastSquares, run.at("centred"),
                    run});
  }
}

inline Array TinyModel::find(const nlohmann::json& entry) const {
  Array array{entry.at("shape").get<std::vector<std::size_t>>(), {}};
  const std::size_t size =
      std::accumulate(array.shape.begin(), array.shape.end(), std::size_t{1}, std::multiplies<>());
  array.values = std::span(data_).subspan(entry.at("at").get<std::size_t>(), size);
  return array;
}

inline kv::Centres TinyModel::centres(const TinyRun& run) const {
  if (!run.centred) return {};
  const auto both = find(centres_).values;
  const auto middle = both.begin() + static_cast<std::ptrdiff_t>(both.size() / 2);
  return {{both.begin(), middle}, {middle, both.end()}};
}

inline SessionOptions TinyModel::options(const TinyRun& run) const {
  SessionOptions options;
  options.kv = run.kv;
  options.kv_window = run.window;
  options.kv_block = run.block;
  options.kv_scales = run.scales;
  options.kv_centres = centres(run);
  return options;
}

inline std::string TinyModel::describe(const TinyRun& run) const {
  return name + ", " + run.kv + ", window " + std::to_string(run.window) + ", block " +
         std::to_string(run.block);
}

/// All models, or an exception that says how to make them.
inline std::vector<TinyModel> tiny_models() {
  std::ifstream file(MISER_FIXTURES "/tiny/index.json");
  if (!file)
    throw std::runtime_error("no fixtures in " MISER_FIXTURES "/tiny: run ./dev test, which makes them");
  std::vector<TinyModel> models;
  for (const auto& entry : nlohmann::json::parse(file)) models.emplace_back(entry);
  return models;
}

/// Logits [n, n_vocab] of all tokens.
inline std::vector<float> all_logits(Session& session, std::span<const std::int32_t> tokens) {
  std::vector<float> all;
  session.feed_all(tokens, [&](std::size_t, std::span<const float> logits) {
    all.insert(all.end(), logits.begin(), logits.end());
  });
  return all;
}

}  // namespace miser::test
