// A session that is written to a file and read back goes on as if it had never stopped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "limited_session.h"
#include "session/prompt_cache.h"
#include "temporary_folder.h"

namespace miser {
namespace {

using Bytes = std::vector<char>;
using test::LimitedSession;

class Snapshot : public LimitedSession {
 protected:
  std::string path() const { return folder_.file("session.kv"); }

  Bytes read() const {
    std::ifstream file(path(), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void write(const Bytes& bytes) const {
    std::ofstream(path(), std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

  /// Feeds both the same, token by token and then at once.
  static void expect_same_future(Session& found, Session& expected, const std::vector<std::int32_t>& tokens) {
    EXPECT_EQ(found.tokens(), expected.tokens());
    EXPECT_EQ(found.cache().vectors_at(), expected.cache().vectors_at());
    EXPECT_EQ(found.cache().n_dropped(), expected.cache().n_dropped());
    const std::span<const std::int32_t> all(tokens);
    const auto feed = [&](std::span<const std::int32_t> next) {
      const auto a = found.feed(next);
      const auto b = expected.feed(next);
      ASSERT_TRUE(std::ranges::equal(a, b)) << "after " << found.size() << " tokens";
    };
    for (std::size_t i = 0; i < 70; ++i) feed(all.subspan(i, 1));
    feed(all.subspan(70));
    EXPECT_EQ(found.cache().vectors_at(), expected.cache().vectors_at());
    ASSERT_EQ(found.signals().size(), expected.signals().size());
    for (std::size_t i = 0; i < found.signals().size(); ++i) {
      EXPECT_EQ(found.signals()[i].entropy, expected.signals()[i].entropy);
      EXPECT_EQ(found.signals()[i].rarity, expected.signals()[i].rarity);
    }
  }

 private:
  test::TemporaryFolder folder_;
};

class SnapshotOf : public Snapshot, public testing::WithParamInterface<std::string> {};

TEST_P(SnapshotOf, GoesOnBitForBit) {
  const auto tokens = random_tokens(700);
  const auto future = random_tokens(200);
  SessionOptions drops = limited(GetParam(), 12000);
  drops.kv_drop_oldest = true;
  SessionOptions shifts = limited(GetParam(), 30000);
  shifts.context = 300;
  shifts.context_shift = true;
  for (const SessionOptions& o : {options(GetParam()), limited(GetParam(), 30000), drops, shifts}) {
    for (const std::size_t n : {3, 36, 130, 256, 530}) {
      Session session(model, pool, o);
      if (n + future.size() > session.capacity() && !session.shifts()) continue;
      const auto logits = session.feed(std::span(tokens).first(n));
      session.save(path(), logits);
      Session other(model, pool, o);
      other.feed(std::span(tokens).first(50));  // is forgotten
      EXPECT_TRUE(std::ranges::equal(other.load(path()), logits));
      if (o.kv_memory > 0) {  // else the rows' slack may differ
        EXPECT_EQ(other.cache().bytes(), session.cache().bytes());
      }
      expect_same_future(other, session, future);
    }
  }
}

TEST_P(SnapshotOf, GoesOnAfterForgettingTokens) {
  const auto tokens = random_tokens(700);
  for (const SessionOptions& o : {options(GetParam()), limited(GetParam(), 30000)}) {
    for (const std::size_t n : {520, 100, 5}) {
      Session session(model, pool, o);
      session.feed(std::span(tokens).first(std::min<std::size_t>(session.capacity(), 600)));
      session.truncate(n);
      session.save(path(), {});
      Session other(model, pool, o);
      EXPECT_TRUE(other.load(path()).empty());
      if (n + 200 <= session.capacity()) expect_same_future(other, session, random_tokens(200));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, SnapshotOf, testing::ValuesIn(test::kPolicies), test::policy_name);

TEST_F(Snapshot, OfAPromptIsReadAsFarAsTheNextOneIsTheSame) {
  const auto tokens = random_tokens(300);
  const auto read_prompt = [&](std::span<const std::int32_t> prompt) {
    Session session(model, pool, options("q4"));
    PromptCache cache(session, path());
    const auto unread = cache.begin(prompt);
    EXPECT_EQ(cache.n_reused(), prompt.size() - unread.size());
    EXPECT_EQ(session.size(), cache.n_reused());
    EXPECT_EQ(cache.logits().empty(), !unread.empty());
    cache.save_prompt(unread.empty() ? cache.logits() : session.feed(unread));
    return cache.n_reused();
  };
  auto other = tokens;
  other[200] = other[200] == 0 ? 1 : 0;
  EXPECT_EQ(read_prompt(tokens), 0U);
  EXPECT_EQ(read_prompt(tokens), 300U);
  EXPECT_EQ(read_prompt(std::span(tokens).first(250)), 249U);  // the last one gives the logits
  EXPECT_EQ(read_prompt(tokens), 300U) << "a beginning of it has replaced the file";
  EXPECT_EQ(read_prompt(other), 200U);
  EXPECT_EQ(read_prompt(other), 300U);
}

TEST_F(Snapshot, OfOtherOptionsIsRefused) {
  struct Case {
    const char* message;
    std::function<void(SessionOptions&)> change;
  };
  const std::vector<Case> cases = {
      {"KV policy: found q4, expected q8", [](SessionOptions& o) { o.kv = "q8"; }},
      {"KV window: found 32, expected 16", [](SessionOptions& o) { o.kv_window = 16; }},
      {"KV block: found 32, expected 16", [](SessionOptions& o) { o.kv_block = 16; }},
      {"KV scales", [](SessionOptions& o) { o.kv_scales = kv::ScaleRule::kLeastSquares; }},
      {"KV memory: found 0, expected 1048576", [](SessionOptions& o) { o.kv_memory = 1U << 20U; }},
      {"positions: found 100, expected 1 to 64", [](SessionOptions& o) { o.context = 64; }},
      {"centres", [&](SessionOptions& o) {
         const policy::Plan plan = test::tiny_plan(plan_model(model));
         o.kv_centres = {plan.centre_k, plan.centre_v};
       }}};
  Session session(model, pool, options("q4"));
  session.feed(random_tokens(100));
  session.save(path(), {});
  for (const Case& c : cases) {
    SessionOptions changed = options("q4");
    c.change(changed);
    Session other(model, pool, changed);
    EXPECT_THAT([&] { other.load(path()); }, testing::ThrowsMessage<Error>(testing::HasSubstr(c.message)));
    EXPECT_EQ(other.size(), 0U);
  }
}

TEST_F(Snapshot, OfAnotherPlanOrModelIsRefused) {
  Session session(model, pool, options("learned@5"));
  session.feed(random_tokens(100));
  session.save(path(), {});
  SessionOptions changed = options("learned@5");
  const policy::PlanModel of_model = plan_model(model);
  auto plan = std::make_shared<policy::Plan>(test::tiny_plan(of_model));
  plan->linear->bias[0] += 1;
  changed.plans = std::make_shared<const policy::Plans>(of_model, plan, false);
  Session other(model, pool, changed);
  EXPECT_THAT([&] { other.load(path()); },
              testing::ThrowsMessage<Error>(testing::HasSubstr(": plan: found")));
  for (const auto& tiny : test::tiny_models()) {
    if (tiny.name == "f32_long") continue;
    const Model another = Model::load(tiny.path);
    SessionOptions plain;
    plain.kv = "q4";
    Session of_another(another, pool, plain);
    EXPECT_THROW(of_another.load(path()), Error) << tiny.name;
  }
}

/// Where the sections of a snapshot begin, with their length and checksum.
std::vector<std::size_t> sections(const Bytes& bytes) {
  std::vector<std::size_t> begins;
  for (std::size_t at = 12; at < bytes.size();) {
    begins.push_back(at);
    std::uint64_t size = 0;
    std::memcpy(&size, &bytes[at], sizeof(size));
    at += 16 + size;
  }
  return begins;
}

/// Makes the checksums right again.
void seal(Bytes& bytes) {
  for (const std::size_t at : sections(bytes)) {
    std::uint64_t size = 0;
    std::memcpy(&size, &bytes[at], sizeof(size));
    Hash hash;
    hash.add(std::as_bytes(std::span(bytes)).subspan(at + 16, size));
    const std::uint64_t value = hash.value();
    std::memcpy(&bytes[at + 8], &value, sizeof(value));
  }
}

class DamagedSnapshot : public Snapshot {
 protected:
  /// Loads these bytes; an error must be one line that names the file, and leave a session that works.
  void load(const Bytes& bytes, const char* message = "") {
    write(bytes);
    Session session(model, pool, limited("learned@5", 30000));
    try {
      session.load(path());
      ADD_FAILURE() << "was read";
    } catch (const Error& error) {
      const std::string what = error.what();
      EXPECT_NE(what.find(message), std::string::npos) << what;
      EXPECT_EQ(what.find('\n'), std::string::npos) << what;
    }
    EXPECT_EQ(session.size(), 0U);
    EXPECT_EQ(session.tokens().size(), 0U);
  }

  Bytes good() {
    Session session(model, pool, limited("learned@5", 30000));
    session.save(path(), session.feed(random_tokens(130)));
    return read();
  }
};

TEST_F(DamagedSnapshot, IsRefusedWhereverItEnds) {
  const Bytes whole = good();
  for (std::size_t n = 0; n < whole.size(); n += n < 600 ? 1 : 701)
    load({whole.begin(), whole.begin() + n}, "session.kv: ");
  Bytes longer = whole;
  longer.push_back(0);
  load(longer, "more bytes");
}

TEST_F(DamagedSnapshot, IsRefusedWhateverByteChanged) {
  const Bytes whole = good();
  for (std::size_t at = 0; at < whole.size(); at += at < 600 ? 1 : 701) {
    Bytes bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 4);
    load(bytes, "session.kv: ");
  }
}

TEST_F(DamagedSnapshot, IsRefusedWhenItsNumbersDisagree) {
  const Bytes whole = good();
  const auto begins = sections(whole);
  const auto with = [&](std::size_t section, std::size_t offset, std::uint64_t value, std::size_t n_bytes) {
    Bytes bytes = whole;
    std::memcpy(&bytes[begins[section] + 16 + offset], &value, n_bytes);
    seal(bytes);
    return bytes;
  };
  load(with(1, 0, std::uint64_t{1} << 60U, 8), "positions");
  load(with(1, 0, 0, 8), "positions");
  load(with(1, 0, 129, 8), "more bytes");  // of tokens
  load(with(1, 8, 0, 8), "first staged position");
  load(with(1, 16, 8, 8), "first kept position");
  load(with(1, 24, 1, 8), "shift: found 1, expected 0 to 0");
  load(with(1, 32, 1, 8), "shift of the sinks");
  load(with(1, 40, 6, 1), "widest of a period");
  load(with(1, 41, 0x7FC00000, 4), "price of demotion");
  load(with(2, 1, 0xFFFFFFFF, 4), "token");
  load(with(3, 0, 2, 1), "price of a bit is known");
  load(with(3, 1, 0x7FC00000, 4), "not finite");
  load(with(4, 0, 0, 1), "");
  const kv::CacheConfig config = Session(model, pool, limited("learned@5", 30000)).cache().config();
  const std::size_t n_rows = 130 - kv::exact_begin(config, 129) + config.sinks;
  const std::size_t segment =
      1 + n_rows * (4 * kv::received_stride(config) + 4 * config.n_kv_heads * config.head_dim);
  load(with(4, segment, 0xFFFFFFFF, 4), "segment");
  load(with(4, segment, 10, 4), "tags");
  load(with(4, segment + 4, ~std::uint64_t{0}, 8), "");
}

TEST_F(Snapshot, ThatCannotBeWrittenLeavesTheOldOne) {
  Session session(model, pool, options("q4"));
  session.feed(random_tokens(100));
  session.save(path(), {});
  const Bytes before = read();
  EXPECT_THAT([&] { session.save("/dev/full", {}); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("/dev/full: cannot write")));
  EXPECT_THAT([&] { session.save(path() + "/x", {}); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("cannot create")));
  EXPECT_EQ(read(), before);
  EXPECT_THROW(Session(model, pool, options("q4")).save(path(), {}), Error);  // nothing to save
}

}  // namespace
}  // namespace miser
