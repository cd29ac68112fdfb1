#include "kv/segment.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "kv/counting_resource.h"
#include "nn/ops.h"

namespace miser::kv {
namespace {

/// Everything a Side points to. The centre is binary16 noise.
struct OwnedSide {
  explicit OwnedSide(std::size_t head_dim, ScaleRule scale_rule = ScaleRule::kUnbiased, bool centred = true,
                     SideKind side_kind = SideKind::kKeys)
      : rotation(head_dim), centre(head_dim), rule(scale_rule), kind(side_kind) {
    if (!centred) return;
    for (std::size_t i = 0; i < head_dim; ++i) centre[i] = static_cast<float>(i % 7) - 3;
  }
  Side side() const { return {&rotation, centre, rule, kind}; }

  Rotation rotation;
  std::vector<float> centre;
  ScaleRule rule;
  SideKind kind;
};

/// Random binary16 numbers.
std::vector<float> random_rows(std::mt19937& generator, std::size_t n) {
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> x(n);
  for (float& value : x) value = normal(generator);
  std::vector<std::uint16_t> halves(n);
  nn::f32_to_f16(x, halves);
  nn::f16_to_f32(halves, x);
  return x;
}

std::vector<Width> random_widths(std::mt19937& generator, std::size_t n) {
  std::uniform_int_distribution<std::size_t> any(0, kWidthCount - 1);
  std::vector<Width> widths(n);
  for (Width& width : widths) width = kAllWidths[any(generator)];
  return widths;
}

std::vector<float> rotated(std::span<const float> row, const OwnedSide& owner) {
  std::vector<float> x(row.begin(), row.end());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] -= owner.centre[i];
  owner.rotation.apply(x);
  return x;
}

/// What a tile must hold for one vector: the codec's answer for that vector alone.
struct Expected {
  Expected(Width width, std::span<const float> row, const OwnedSide& owner) : y(rotated(row, owner)) {
    if (width == Width::k16) return;
    std::vector<std::byte> payload(payload_bytes(width, row.size()));
    const std::uint16_t half = encode(width, y, owner.rule, payload);
    float scale = 0;
    nn::f16_to_f32(std::span(&half, 1), std::span(&scale, 1));
    decode(width, payload, scale, y);
    correction = score_correction(width, owner.rule) * scale * scale;
  }
  std::vector<float> y;
  float correction = 0;
};

std::vector<std::byte> copy_of(std::span<const std::byte> bytes) {
  return {bytes.begin(), bytes.end()};
}

/// A segment beside the plain list of what was put into it.
class Model {
 public:
  Model(std::size_t head_dim, ScaleRule rule, SideKind kind, unsigned seed)
      : owner_(head_dim, rule, true, kind), generator_(seed), segment_(&memory_) {}

  void append(std::size_t n) {
    const auto widths = random_widths(generator_, n);
    const auto rows = random_rows(generator_, n * head_dim());
    segment_.append(widths, rows, owner_.side());
    widths_.insert(widths_.end(), widths.begin(), widths.end());
    rows_.insert(rows_.end(), rows.begin(), rows.end());
  }

  void check() {
    ASSERT_EQ(segment_.size(), widths_.size());
    Tile tile;
    tile.correction.assign(Segment::kMaxTokens, 7);  // as left by another segment
    segment_.unpack(owner_.side(), tile);
    ASSERT_EQ(tile.n_tokens, widths_.size());
    ASSERT_EQ(tile.rows.size(), rows_.size());
    ASSERT_EQ(tile.correction.size(), widths_.size());
    for (std::size_t t = 0; t < widths_.size(); ++t) check_token(t, tile);
    check_bytes();
  }

 private:
  std::size_t head_dim() const { return owner_.centre.size(); }

  void check_token(std::size_t t, const Tile& tile) {
    EXPECT_EQ(segment_.width(t), widths_[t]);
    const auto row = std::span(rows_).subspan(t * head_dim(), head_dim());
    const auto got = std::span(tile.rows).subspan(t * head_dim(), head_dim());
    const Expected expected(widths_[t], row, owner_);
    EXPECT_EQ(tile.correction[t], expected.correction);
    const auto wanted = tile.rotated ? std::span<const float>(expected.y) : row;
    EXPECT_TRUE(std::equal(got.begin(), got.end(), wanted.begin())) << "token " << t;
  }

  void check_bytes() {
    std::array<std::uint16_t, kWidthCount> counts{};
    std::size_t bytes = 3 * ((widths_.size() + 7) / 8);
    for (const Width width : widths_) {
      ++counts[static_cast<std::size_t>(width)];
      bytes += width == Width::k16 ? 2 * head_dim() : 2 + (head_dim() + 7) / 8 * bits(width);
    }
    EXPECT_EQ(segment_.counts(), counts);
    EXPECT_EQ(segment_.bytes().size(), bytes);
    const std::size_t allocated = bytes == 0 ? 0 : SharedBytes::kHeaderBytes + bytes;
    EXPECT_EQ(segment_.heap_bytes(), allocated);
    EXPECT_EQ(memory_.bytes(), allocated);
  }

  OwnedSide owner_;
  std::mt19937 generator_;
  CountingResource memory_{std::pmr::new_delete_resource()};
  Segment segment_;
  std::vector<Width> widths_;
  std::vector<float> rows_;
};

TEST(Segment, RandomAppendsReadBackAsTheCodecAloneWouldGive) {
  for (const std::size_t head_dim : {2, 8, 48, 64, 80, 100, 128}) {
    for (unsigned seed = 0; seed < 4; ++seed) {
      SCOPED_TRACE(fmt::format("head_dim {}, seed {}", head_dim, seed));
      std::mt19937 generator(seed);
      Model model(head_dim, seed < 2 ? ScaleRule::kUnbiased : ScaleRule::kLeastSquares,
                  seed % 2 == 0 ? SideKind::kKeys : SideKind::kValues, seed);
      model.check();
      for (std::size_t left = Segment::kMaxTokens; left > 0;) {
        const std::size_t n =
            std::uniform_int_distribution<std::size_t>(0, std::min<std::size_t>(left, 40))(generator);
        model.append(n);
        model.check();
        left -= n;
      }
    }
  }
}

TEST(Segment, BytesDoNotDependOnHowManyCallsBringTheTokens) {
  for (const SideKind kind : {SideKind::kKeys, SideKind::kValues}) {
    for (const std::size_t head_dim : {20, 64}) {
      const OwnedSide owner(head_dim, ScaleRule::kUnbiased, true, kind);
      std::mt19937 generator(1);
      const auto widths = random_widths(generator, Segment::kMaxTokens);
      const auto rows = random_rows(generator, widths.size() * head_dim);
      CountingResource counter(std::pmr::new_delete_resource());
      Segment whole(&counter);
      whole.append(widths, rows, owner.side());
      for (const std::size_t step : {1, 7, 32, 100}) {
        Segment pieces(&counter);
        for (std::size_t t = 0; t < widths.size(); t += step) {
          const std::size_t n = std::min(step, widths.size() - t);
          pieces.append(std::span(widths).subspan(t, n), std::span(rows).subspan(t * head_dim, n * head_dim),
                        owner.side());
        }
        EXPECT_EQ(copy_of(pieces.bytes()), copy_of(whole.bytes())) << step;
      }
    }
  }
}

TEST(Segment, TruncatedHasTheBytesOfOneThatNeverHadMore) {
  for (const SideKind kind : {SideKind::kKeys, SideKind::kValues}) {
    for (const std::size_t head_dim : {8, 20, 64, 128}) {
      const OwnedSide owner(head_dim, ScaleRule::kUnbiased, true, kind);
      std::mt19937 generator(4);
      const auto widths = random_widths(generator, 300);
      const auto rows = random_rows(generator, widths.size() * head_dim);
      for (const std::size_t n : {0, 1, 15, 16, 100, 299, 300}) {
        CountingResource memory(std::pmr::new_delete_resource());
        Segment cut(&memory);
        cut.append(widths, rows, owner.side());
        const std::size_t before = memory.bytes();
        cut.truncate(n, owner.side());
        CountingResource counter(std::pmr::new_delete_resource());
        Segment whole(&counter);
        whole.append(std::span(widths).first(n), std::span(rows).first(n * head_dim), owner.side());
        EXPECT_EQ(copy_of(cut.bytes()), copy_of(whole.bytes())) << head_dim << ", " << n;
        EXPECT_EQ(cut.counts(), whole.counts());
        EXPECT_EQ(memory.bytes(), whole.heap_bytes());
        EXPECT_EQ(memory.peak(), before) << "a smaller segment was counted beside the old one";
      }
    }
  }
}

/// A code of a tile by the words of docs/cache-layout.md, bit by bit.
unsigned code_at(const std::byte* tile, SideKind kind, int n_bits, std::size_t token, std::size_t channel) {
  const bool keys = kind == SideKind::kKeys;
  const std::size_t slab_size = 64 * (keys ? 16 : 4) * static_cast<std::size_t>(n_bits) / 8;
  const std::byte* plane = tile + channel / 64 * slab_size;
  channel %= 64;
  const std::size_t chunk = keys ? channel / 4 : channel / 16;
  const std::size_t slot = keys ? 4 * token + channel % 4 : 4 * (channel % 16) + token;
  unsigned code = 0;
  int done = 0;
  for (const int p : n_bits == 3 ? std::vector<int>{2, 1} : std::vector<int>{n_bits}) {
    std::size_t byte = chunk * static_cast<std::size_t>(p) / 8 * 64 + slot;
    std::size_t bit = chunk * static_cast<std::size_t>(p) % 8;
    if (!keys && p == 1) {
      byte = slot % 32;
      bit = chunk + 4 * (slot / 32);
    }
    code |= (std::to_integer<unsigned>(plane[byte]) >> bit & ((1U << p) - 1)) << done;
    done += p;
    plane += (keys ? 16U : 4U) * 64 * static_cast<std::size_t>(p) / 8;
  }
  return code;
}

TEST(Segment, TilesHoldTheCodesWhereTheDocumentationPutsThem) {
  std::mt19937 generator(7);
  for (const SideKind kind : {SideKind::kKeys, SideKind::kValues}) {
    const std::size_t n = kind == SideKind::kKeys ? 16 : 4;
    for (const Width width : {Width::k1, Width::k2, Width::k3, Width::k4, Width::k8}) {
      constexpr std::size_t kHeadDim = 128;
      const OwnedSide owner(kHeadDim, ScaleRule::kUnbiased, true, kind);
      const auto rows = random_rows(generator, n * kHeadDim);
      CountingResource memory(std::pmr::new_delete_resource());
      Segment segment(&memory);
      segment.append(std::vector<Width>(n, width), rows, owner.side());
      const std::byte* const tile = segment.bytes().data() + 3 * ((n + 7) / 8) + 2 * n;
      for (std::size_t t = 0; t < n; ++t) {
        std::vector<std::byte> row(payload_bytes(width, kHeadDim));
        encode(width, rotated(std::span(rows).subspan(t * kHeadDim, kHeadDim), owner), owner.rule, row);
        for (std::size_t c = 0; c < kHeadDim; ++c) {
          const auto first = c * static_cast<std::size_t>(bits(width));
          unsigned code = 0;  // bits [c b, (c + 1) b) of the row
          for (std::size_t b = 0; b < static_cast<std::size_t>(bits(width)); ++b) {
            code |= (std::to_integer<unsigned>(row[(first + b) / 8]) >> ((first + b) % 8) & 1U) << b;
          }
          ASSERT_EQ(code_at(tile, kind, bits(width), t, c), code)
              << bits(width) << " bits, " << t << ", " << c;
        }
      }
    }
  }
}

TEST(Segment, OfSixteenBitsAloneGivesTheRowsThemselves) {
  const OwnedSide owner(64);
  std::mt19937 generator(2);
  const auto rows = random_rows(generator, 5 * 64);
  CountingResource memory(std::pmr::new_delete_resource());
  Segment segment(&memory);
  segment.append(std::vector<Width>(5, Width::k16), rows, owner.side());
  Tile tile;
  segment.unpack(owner.side(), tile);
  EXPECT_FALSE(tile.rotated);
  EXPECT_TRUE(std::equal(tile.rows.begin(), tile.rows.end(), rows.begin(), rows.end()));
  segment.append(std::vector<Width>(1, Width::k8), random_rows(generator, 64), owner.side());
  segment.unpack(owner.side(), tile);
  EXPECT_TRUE(tile.rotated);
}

TEST(Segment, EmptyTakesNoMemory) {
  CountingResource memory(std::pmr::new_delete_resource());
  const OwnedSide owner(64);
  Segment segment(&memory);
  segment.append({}, {}, owner.side());
  EXPECT_EQ(memory.peak(), 0u);
  Tile tile;
  tile.rows.resize(3);
  segment.unpack(owner.side(), tile);
  EXPECT_EQ(tile.n_tokens, 0u);
  EXPECT_TRUE(tile.rows.empty());
}

TEST(Segment, MovesKeepTheMemoryResource) {
  CountingResource memory(std::pmr::new_delete_resource());
  const OwnedSide owner(8);
  std::mt19937 generator(3);
  std::pmr::vector<Segment> segments(&memory);
  for (int i = 0; i < 9; ++i) {
    segments.emplace_back(&memory);
    segments.back().append(std::vector<Width>(4, Width::k4), random_rows(generator, 32), owner.side());
  }
  EXPECT_EQ(memory.bytes(),
            segments.capacity() * sizeof(Segment) + segments.size() * segments[0].heap_bytes());
}

/// The worked example of docs/cache-layout.md: table rows "| token | bits | vector |" and byte lines "offset:
/// hex".
struct WorkedExample {
  WorkedExample() {
    std::ifstream file(MISER_SOURCE_DIR "/docs/cache-layout.md");
    EXPECT_TRUE(file) << "docs/cache-layout.md is missing";
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("| ") && std::isdigit(line[2]) != 0) read_token(line);
      if (line.starts_with("    0x")) read_bytes(line.substr(line.find(':') + 1));
    }
  }

  void read_token(std::string line) {
    std::replace(line.begin(), line.end(), '|', ' ');
    std::istringstream in(line);
    std::size_t token = 0;
    int width_bits = 0;
    in >> token >> width_bits;
    EXPECT_EQ(token, widths.size());
    widths.push_back(
        *std::find_if(kAllWidths.begin(), kAllWidths.end(), [&](Width w) { return bits(w) == width_bits; }));
    for (float value = 0; in >> value;) vectors.push_back(value);
  }

  void read_bytes(const std::string& text) {
    std::istringstream in(text);
    for (std::string word; in >> word && word != ";";)
      bytes.push_back(static_cast<std::byte>(std::stoi(word, nullptr, 16)));
  }

  std::vector<Width> widths;
  std::vector<float> vectors;  ///< [n, 4]; centred and rotated but at 16 bits
  std::vector<std::byte> bytes;
};

TEST(Segment, BytesAreThoseOfTheWorkedExampleInTheDocumentation) {
  constexpr std::size_t kHeadDim = 4;  // R is H / 2: whole numbers come back exactly
  const WorkedExample example;
  ASSERT_EQ(example.vectors.size(), example.widths.size() * kHeadDim);
  const OwnedSide owner(kHeadDim, ScaleRule::kUnbiased, false);
  auto rows = example.vectors;
  for (std::size_t t = 0; t < example.widths.size(); ++t) {
    if (example.widths[t] != Width::k16)
      owner.rotation.invert(std::span(rows).subspan(t * kHeadDim, kHeadDim));
  }
  CountingResource memory(std::pmr::new_delete_resource());
  Segment segment(&memory);
  segment.append(example.widths, rows, owner.side());
  std::string hex;
  for (const std::byte b : segment.bytes()) hex += fmt::format("{:02X} ", std::to_integer<int>(b));
  EXPECT_EQ(copy_of(segment.bytes()), example.bytes) << hex;
}

}  // namespace
}  // namespace miser::kv
