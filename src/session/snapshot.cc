// Session::save() and load() (docs/snapshot.md).
#include <utility>

#include "base/hash.h"
#include "base/mapped_file.h"
#include "gguf/printable.h"
#include "kv/cache_file.h"
#include "session/plans.h"
#include "session/session.h"
#include "session/snapshot_file.h"

namespace miser {
namespace {

std::uint64_t hash_of(const kv::Cache& cache) {
  Hash hash;
  for (std::size_t layer = 0; layer < cache.config().n_layers; ++layer) {
    for (std::size_t g = 0; g < cache.config().n_kv_heads; ++g) {
      hash.add_all(cache.key_side(layer, g).centre);
      hash.add_all(cache.value_side(layer, g).centre);
    }
  }
  return hash.value();
}

void expect_same(const ByteReader& in, std::string_view field, const std::string& found,
                 const std::string& expected) {
  if (found != expected) in.refuse(field, found, expected);
}

}  // namespace

/// The sections of a snapshot and the members of a session.
class SessionFile {
 public:
  static void save(const Session& session, std::span<const float> logits, SnapshotWriter& file);
  static std::vector<float> load(SnapshotReader& file, Session& session);

 private:
  template <typename F>
  static void for_each_trait(const Session& session, F&& f);
  static void write_header(const Session& session, ByteWriter& out);
  static void check_header(const Session& session, ByteReader& in);
  static void write_tokens(const Session& session, ByteWriter& out);
  static policy::SignalHistory read_tokens(const Session& session, std::size_t n, ByteReader& in);
  static std::vector<float> read_logits(const Session& session, ByteReader& in);
};

/// f(name, number, whether it is a hash): what a session must have in common with another to go on from its
/// tokens.
template <typename F>
void SessionFile::for_each_trait(const Session& session, F&& f) {
  const kv::CacheConfig& c = session.cache_.config();
  const policy::PlanModel model = plan_model(session.model_);
  const auto number = [&](const char* name, std::size_t value) { f(name, value, false); };
  number("layers", c.n_layers);
  number("heads", c.n_heads);
  number("KV heads", c.n_kv_heads);
  number("head_dim", c.head_dim);
  number("vocabulary", session.model_.config().n_vocab);
  f("weights of the model", model.fingerprint, true);
  f("plan", session.policy_->plan_fingerprint(), true);
  f("centres", hash_of(session.cache_), true);
  number("KV scales", static_cast<std::size_t>(c.scales));
  number("KV window", c.window);
  number("KV block", c.block);
  number("KV sinks", c.sinks);
  number("tokens of a segment", kv::Segment::kMaxTokens);
  number("KV memory", c.memory);
  number("KV overflow drop-oldest", c.drop_oldest ? 1 : 0);
  number("context shift", c.shift ? 1 : 0);
}

void SessionFile::write_header(const Session& session, ByteWriter& out) {
  out.put_text(session.policy_->name());
  for_each_trait(session, [&](const char*, std::uint64_t value, bool) { out.put(value); });
}

void SessionFile::check_header(const Session& session, ByteReader& in) {
  const std::string policy = gguf::printable(in.get_text("KV policy"), 80);
  for_each_trait(session, [&](const char* name, std::uint64_t expected, bool is_hash) {
    const auto text = [&](std::uint64_t x) {
      return is_hash ? fmt::format("{:016x}", x) : fmt::to_string(x);
    };
    expect_same(in, name, text(in.get<std::uint64_t>(name)), text(expected));
  });
  expect_same(in, "KV policy", policy, session.policy_->name());
  expect_end(in, "header");
}

void SessionFile::write_tokens(const Session& session, ByteWriter& out) {
  out.put(static_cast<std::uint8_t>(session.wants_token_signals() ? 1 : 0));
  out.put_all(std::span(session.tokens_));
  for (const policy::TokenSignals& token : session.history_) {
    for (const float signal : {token.entropy, token.attention_variance, token.confidence}) out.put(signal);
  }
}

/// The ids, and the signals of each where there are any; rarity follows from the ids.
policy::SignalHistory SessionFile::read_tokens(const Session& session, std::size_t n, ByteReader& in) {
  const int expected = session.wants_token_signals() ? 1 : 0;
  const int has_signals = in.get<std::uint8_t>("signals");
  if (has_signals != expected) in.refuse("signals", has_signals, fmt::to_string(expected));
  if (n > in.left() / sizeof(std::int32_t))
    in.refuse("tokens", fmt::format("{} bytes", in.left()), fmt::format("{} ids", n));
  policy::SignalHistory tokens(n);
  const auto last = static_cast<std::int32_t>(session.model_.config().n_vocab) - 1;
  for (policy::TokenSignals& token : tokens) token.id = in.get_within<std::int32_t>("token", 0, last);
  if (has_signals == 0) return tokens;
  for (policy::TokenSignals& token : tokens) {
    for (float* const signal : {&token.entropy, &token.attention_variance, &token.confidence})
      *signal = in.get<float>("signals");
  }
  return tokens;
}

std::vector<float> SessionFile::read_logits(const Session& session, ByteReader& in) {
  std::vector<float> logits(in.left() == 0 ? 0 : session.model_.config().n_vocab);
  in.get_all("logits", std::span(logits));
  return logits;
}

void SessionFile::save(const Session& session, std::span<const float> logits, SnapshotWriter& file) {
  const auto section = [&](auto&& write) {
    ByteWriter out;
    write(out);
    file.section(out);
  };
  section([&](ByteWriter& out) { write_header(session, out); });
  section([&](ByteWriter& out) { kv::CacheFile::save_positions(session.cache_, out); });
  section([&](ByteWriter& out) { write_tokens(session, out); });
  section([&](ByteWriter& out) { session.policy_->save_state(out); });
  for (std::size_t i = 0; i < session.cache_.config().n_layers; ++i)
    section([&](ByteWriter& out) { kv::CacheFile::save_layer(session.cache_, i, out); });
  section([&](ByteWriter& out) { out.put_all(logits); });
}

/// Reads and checks all of the file before it touches the session.
std::vector<float> SessionFile::load(SnapshotReader& file, Session& session) {
  const kv::CacheConfig& config = session.cache_.config();
  const auto section = [&](const std::string& what, auto&& read) {
    ByteReader in = file.section(what);
    auto value = read(in);
    expect_end(in, what);
    return value;
  };
  ByteReader header = file.section("header");
  check_header(session, header);
  const auto at = section("positions", [&](ByteReader& in) { return kv::read_positions(in, config); });
  const auto tokens =
      section("tokens", [&](ByteReader& in) { return read_tokens(session, at.n_tokens, in); });
  ByteReader policy = file.section("policy");
  std::vector<kv::LayerSnapshot> layers;
  for (std::size_t i = 0; i < config.n_layers; ++i) {
    layers.push_back(
        section(fmt::format("layer {}", i), [&](ByteReader& in) { return kv::read_layer(in, config, at); }));
  }
  auto logits = section("logits", [&](ByteReader& in) { return read_logits(session, in); });
  file.end();

  session.clear();
  session.policy_->load_state(policy);
  expect_end(policy, "policy");
  kv::CacheFile::load(at, layers, session.cache_);
  for (policy::TokenSignals token : tokens) {
    session.tokens_.push_back(token.id);
    token.rarity = session.rarity_.observe(token.id);
    if (session.wants_token_signals()) session.history_.push_back(token);
  }
  return logits;
}

void Session::save(const std::string& path, std::span<const float> logits) const {
  if (size() == 0) fail("{}: there are no tokens to save", path);
  if (recorder_ != nullptr) fail_usage("{}: found records of the tokens, which cannot be saved", path);
  SnapshotWriter file(path);
  SessionFile::save(*this, logits, file);
  file.commit();
}

std::vector<float> Session::load(const std::string& path) {
  if (recorder_ != nullptr) fail_usage("{}: a snapshot has no records of its tokens", path);
  const MappedFile mapped(path);
  SnapshotReader file(mapped.bytes(), path);
  try {
    return SessionFile::load(file, *this);
  } catch (...) {
    clear();
    throw;
  }
}

}  // namespace miser
