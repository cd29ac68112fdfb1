#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory_resource>
#include <random>
#include <span>
#include <vector>

#include "kv/attention.h"
#include "kv/cache.h"
#include "nn/ops.h"
#include "nn/thread_pool.h"

namespace miser::test {

inline std::vector<float> as_halves(std::vector<float> x) {
  std::vector<std::uint16_t> halves(x.size());
  nn::f32_to_f16(x, halves);
  nn::f16_to_f32(halves, x);
  return x;
}

/// A random width for every vector, and a random rating, by layer and position.
class RandomWidths final : public kv::WidthChooser {
 public:
  explicit RandomWidths(unsigned seed) : seed_(seed) {}
  bool wants_received() const override { return true; }
  void choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) override {
    std::mt19937 random(static_cast<unsigned>(seed_ + 1000 * block.first_position + block.layer));
    for (auto* const side : {&widths.k, &widths.v}) {
      for (kv::Width& width : *side) width = kv::kAllWidths[random() % kv::kWidthCount];
    }
    for (auto* const ratings : {&widths.k_rating, &widths.v_rating}) {
      for (std::uint8_t& rating : *ratings) rating = static_cast<std::uint8_t>(random());
    }
  }

 private:
  std::size_t seed_;
};

/// A cache of random keys and values beside a plain model of it: every vector as it must be read back, by
/// position. The model is told what was fed, and follows the cache in what it packs and how wide, which only
/// ever may go down.
class CacheModel {
 public:
  /// A vector as it is read back: `y` is x itself at 16 bits, else R (x - centre) after the codec.
  struct Vector {
    kv::Width width = kv::Width::k16;
    std::vector<float> x;
    std::vector<float> y;
  };

  /// Models of one seed have the same centres. `memory` may be common to several; null: one of its own.
  CacheModel(const kv::CacheConfig& config, kv::WidthChooser& chooser, unsigned seed,
             std::pmr::memory_resource* memory = nullptr)
      : owns_memory_(memory == nullptr),
        cache(config, random_centres(config, seed), memory == nullptr ? &memory_ : memory),
        chooser_(chooser),
        attention_(cache, pool),
        random_(seed),
        vectors_(config.n_layers * config.n_kv_heads * 2) {}

  /// Feeds n random tokens, in one chunk where the cache admits it, and compares what attention gives with
  /// plain sums over the model.
  void feed(std::size_t n) {
    while (n > 0) {
      const std::size_t admitted = cache.admit(n, pool);
      feed_chunk(admitted);
      n -= admitted;
    }
  }

  void feed_chunk(std::size_t n) {
    const kv::CacheConfig& c = cache.config();
    const std::size_t first = cache.size();
    for (std::size_t layer = 0; layer < c.n_layers; ++layer) {
      const auto q = noise(n * c.n_heads * c.head_dim);
      const auto k = noise(n * c.n_kv_heads * c.head_dim);
      const auto v = noise(n * c.n_kv_heads * c.head_dim);
      std::vector<float> out(q.size());
      attention_.forward({layer, n, q.data(), k.data(), v.data(), out.data(), nullptr}, chooser_);
      add(layer, first, k, v);
      follow(layer);
      check_last_output(layer, q, out);
    }
  }

  void copy_tokens(const CacheModel& other) {
    cache.copy_tokens(other.cache);
    vectors_ = other.vectors_;
  }

  void truncate(std::size_t n) {
    cache.truncate(n);
    for (auto& of_head : vectors_) of_head.erase(of_head.lower_bound(n), of_head.end());
  }

  /// Every vector of the cache is the model's, and every byte is counted.
  void check() {
    if (owns_memory_) {
      EXPECT_EQ(cache.bytes(), memory_.bytes());
    }
    const kv::CacheConfig& c = cache.config();
    for (std::size_t layer = 0; layer < c.n_layers; ++layer) {
      follow(layer);
      for (std::size_t g = 0; g < c.n_kv_heads; ++g) {
        check_exact(layer, g);
        check_packed(layer, g, kv::SideKind::kKeys);
        check_packed(layer, g, kv::SideKind::kValues);
      }
    }
  }

  std::map<std::size_t, Vector>& vectors(std::size_t layer, std::size_t g, kv::SideKind kind) {
    return vectors_[(layer * cache.config().n_kv_heads + g) * 2 + (kind == kv::SideKind::kKeys ? 0 : 1)];
  }
  std::size_t bytes_alive() const { return memory_.bytes(); }
  std::size_t bytes_peak() const { return memory_.peak(); }
  /// Other vectors than those of another model of the same seed.
  void reseed(unsigned seed) { random_.seed(seed); }

 private:
  kv::CountingResource memory_{std::pmr::new_delete_resource()};
  bool owns_memory_;

 public:
  kv::Cache cache;
  nn::ThreadPool pool{1};

 private:
  static kv::Centres random_centres(const kv::CacheConfig& c, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    kv::Centres centres;
    for (auto* const centre : {&centres.k, &centres.v}) {
      centre->resize(c.n_layers * c.n_kv_heads * c.head_dim);
      for (float& x : *centre) x = normal(random);
    }
    return centres;
  }

  std::vector<float> noise(std::size_t n) {
    std::normal_distribution<float> normal;
    std::vector<float> x(n);
    for (float& value : x) value = normal(random_);
    return x;
  }

  kv::Side side(std::size_t layer, std::size_t g, kv::SideKind kind) const {
    return kind == kv::SideKind::kKeys ? cache.key_side(layer, g) : cache.value_side(layer, g);
  }
  const std::pmr::vector<kv::Segment>& segments(std::size_t layer, std::size_t g, kv::SideKind kind) const {
    const kv::PackedHead& head = cache.layer(layer).heads[g];
    return kind == kv::SideKind::kKeys ? head.k : head.v;
  }

  void add(std::size_t layer, std::size_t first, const std::vector<float>& k, const std::vector<float>& v) {
    const kv::CacheConfig& c = cache.config();
    for (std::size_t i = 0; i < k.size() / c.n_kv_heads / c.head_dim; ++i) {
      for (std::size_t g = 0; g < c.n_kv_heads; ++g) {
        const auto row = [&](const std::vector<float>& rows) {
          const auto at = rows.begin() + static_cast<long>((i * c.n_kv_heads + g) * c.head_dim);
          return as_halves({at, at + static_cast<long>(c.head_dim)});
        };
        vectors(layer, g, kv::SideKind::kKeys)[first + i] = {kv::Width::k16, row(k), {}};
        vectors(layer, g, kv::SideKind::kValues)[first + i] = {kv::Width::k16, row(v), {}};
      }
    }
  }

  /// f(vector, width in the cache) for every packed vector, found by walking the segments in order.
  template <typename F>
  void for_each_packed(std::size_t layer, std::size_t g, kv::SideKind kind, F&& f) {
    auto& of_head = vectors(layer, g, kind);
    auto next = of_head.lower_bound(cache.config().sinks);
    for (const kv::Segment& segment : segments(layer, g, kind)) {
      for (std::size_t t = 0; t < segment.size(); ++t, ++next) {
        ASSERT_NE(next, of_head.end());
        f(next->second, segment.width(t));
      }
    }
    const kv::LayerCache& l = cache.layer(layer);
    const std::size_t end = std::max(l.staged_begin, cache.config().sinks);
    EXPECT_TRUE(next == of_head.lower_bound(end)) << "another number of packed vectors";
  }

  /// Packs in the model what the cache has packed or made narrower, by the codec alone.
  void follow(std::size_t layer) {
    const std::size_t sinks = cache.config().sinks;
    for (auto& of_head : vectors_)
      of_head.erase(of_head.lower_bound(sinks), of_head.lower_bound(sinks + cache.n_dropped()));
    for (std::size_t g = 0; g < cache.config().n_kv_heads; ++g) {
      for (const auto kind : {kv::SideKind::kKeys, kv::SideKind::kValues}) {
        const kv::Side s = side(layer, g, kind);
        for_each_packed(layer, g, kind, [&](Vector& vector, kv::Width width) { recode(vector, width, s); });
      }
    }
  }

  static void recode(Vector& vector, kv::Width width, const kv::Side& side) {
    if (width == vector.width) return;
    EXPECT_LT(width, vector.width) << "a vector got wider";
    if (vector.width == kv::Width::k16) vector.y = rotated(vector.x, side);
    vector.width = width;
    std::vector<std::byte> payload(kv::payload_bytes(width, vector.y.size()));
    const std::uint16_t half = encode(width, vector.y, side.rule, payload);
    float scale = 0;
    nn::f16_to_f32({&half, 1}, {&scale, 1});
    decode(width, payload, scale, vector.y);
    correction_of(vector, side) = kv::score_correction(width, side.rule) * scale * scale;
  }

  static std::vector<float> rotated(std::vector<float> x, const kv::Side& side) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] -= side.centre[i];
    side.rotation->apply(x);
    return x;
  }
  /// Kept behind the last channel.
  static float& correction_of(Vector& vector, const kv::Side& side) {
    vector.x.resize(side.centre.size() + 1);
    return vector.x.back();
  }

  void check_exact(std::size_t layer, std::size_t g) {
    const kv::LayerCache& l = cache.layer(layer);
    const std::size_t d = cache.config().head_dim;
    const auto check_rows = [&](const std::pmr::vector<std::uint16_t>& stored, kv::SideKind kind) {
      for (const auto& [position, vector] : vectors(layer, g, kind)) {
        if (position >= l.sinks && position < l.staged_begin) continue;
        std::vector<float> row(d);
        nn::f16_to_f32(std::span(stored).subspan((g * l.exact_capacity + l.exact_row(position)) * d, d), row);
        EXPECT_EQ(row, vector.x) << "exact position " << position;
      }
    };
    check_rows(l.exact_k, kv::SideKind::kKeys);
    check_rows(l.exact_v, kv::SideKind::kValues);
  }

  void check_packed(std::size_t layer, std::size_t g, kv::SideKind kind) {
    const kv::Side s = side(layer, g, kind);
    kv::Tile tile;
    std::vector<std::vector<float>> rows;
    for (const kv::Segment& segment : segments(layer, g, kind)) {
      segment.unpack(s, tile);
      for (std::size_t t = 0; t < segment.size(); ++t) {
        const auto at = tile.rows.begin() + static_cast<long>(t * s.centre.size());
        std::vector<float> row(at, at + static_cast<long>(s.centre.size()));
        if (!tile.rotated) row = rotated(row, s);
        rows.push_back(std::move(row));
      }
    }
    std::size_t i = 0;
    for_each_packed(layer, g, kind, [&](const Vector& vector, kv::Width width) {
      EXPECT_EQ(rows[i++], width == kv::Width::k16 ? rotated(vector.x, s) : vector.y);
    });
  }

  /// The last query of a chunk, by sums in double over all that the cache holds for it.
  void check_last_output(std::size_t layer, const std::vector<float>& q, const std::vector<float>& out) {
    const kv::CacheConfig& c = cache.config();
    for (std::size_t head = 0; head < c.n_heads; ++head) {
      const std::size_t g = head / (c.n_heads / c.n_kv_heads);
      const auto at = static_cast<long>(q.size() - (c.n_heads - head) * c.head_dim);
      const std::vector<float> query(q.begin() + at, q.begin() + at + static_cast<long>(c.head_dim));
      const std::vector<double> expected = attend(query, layer, g);
      for (std::size_t i = 0; i < c.head_dim; ++i) {
        ASSERT_NEAR(out[static_cast<std::size_t>(at) + i], expected[i], 2e-3)
            << "layer " << layer << ", head " << head << ", " << cache.size() << " tokens";
      }
    }
  }

  std::vector<double> attend(const std::vector<float>& query, std::size_t layer, std::size_t g) {
    const kv::Side ks = side(layer, g, kv::SideKind::kKeys);
    const kv::Side vs = side(layer, g, kv::SideKind::kValues);
    const std::size_t d = query.size();
    std::vector<float> turned = query;
    ks.rotation->apply(turned);
    double square = 0;
    for (const float x : query) square += static_cast<double>(x) * x / static_cast<double>(d);
    std::vector<double> plain(d);
    std::vector<float> coded(d);
    std::vector<double> coded_sum(d);
    double total = 0;
    double coded_total = 0;
    auto value = vectors(layer, g, kv::SideKind::kValues).begin();
    for (auto& [position, key] : vectors(layer, g, kv::SideKind::kKeys)) {
      const Vector& v = value++->second;
      const bool packed = key.width != kv::Width::k16;
      double score = packed ? -square * key.x.back() * std::sqrt(static_cast<double>(d)) : 0;
      for (std::size_t i = 0; i < d; ++i) {
        score +=
            packed ? static_cast<double>(turned[i]) * key.y[i] + static_cast<double>(query[i]) * ks.centre[i]
                   : static_cast<double>(query[i]) * key.x[i];
      }
      const double weight = std::exp(score / std::sqrt(static_cast<double>(d)));
      total += weight;
      if (v.width == kv::Width::k16) {
        for (std::size_t i = 0; i < d; ++i) plain[i] += weight * v.x[i];
      } else {
        coded_total += weight;
        for (std::size_t i = 0; i < d; ++i) coded_sum[i] += weight * v.y[i];
      }
    }
    for (std::size_t i = 0; i < d; ++i) coded[i] = static_cast<float>(coded_sum[i] / total);
    vs.rotation->invert(coded);
    for (std::size_t i = 0; i < d; ++i)
      plain[i] = plain[i] / total + coded[i] + coded_total / total * vs.centre[i];
    return plain;
  }

  kv::WidthChooser& chooser_;
  kv::Attention attention_;
  std::mt19937 random_;
  std::vector<std::map<std::size_t, Vector>> vectors_;  ///< [n_layers, n_kv_heads, K and V] by position
};

}  // namespace miser::test
