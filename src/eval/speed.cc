#include "eval/speed.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <utility>

#include "eval/statistics.h"

namespace miser::eval {
namespace {

using Tokens = std::span<const std::int32_t>;

/// Ids of ordinary tokens; of all tokens where the file does not say which are ordinary.
std::vector<std::int32_t> ordinary_tokens(const Model& model) {
  constexpr std::int64_t kNormal = 1;
  const auto types = model.file().find_ints("tokenizer.ggml.token_type");
  std::vector<std::int32_t> ids;
  for (std::size_t id = 0; id < model.config().n_vocab; ++id) {
    if (!types || (id < types->size() && (*types)[id] == kNormal))
      ids.push_back(static_cast<std::int32_t>(id));
  }
  if (ids.empty()) ids.push_back(0);
  return ids;
}

std::vector<std::int32_t> random_tokens(const Model& model, std::size_t n, std::uint64_t seed) {
  const auto ids = ordinary_tokens(model);
  std::mt19937_64 random(seed);
  std::vector<std::int32_t> tokens(n);
  for (auto& token : tokens) token = ids[random() % ids.size()];
  return tokens;
}

void summarise(Speed& speed, const Speed& first) {
  if (speed.tok_per_s.empty()) return;
  speed.median = quantile(speed.tok_per_s, 0.5);
  std::vector<double> deviations;
  std::vector<double> ratios;
  for (std::size_t i = 0; i < speed.tok_per_s.size(); ++i) {
    deviations.push_back(std::abs(speed.tok_per_s[i] - speed.median));
    ratios.push_back(speed.tok_per_s[i] / first.tok_per_s[i]);
  }
  speed.deviation = quantile(std::move(deviations), 0.5);
  speed.ratio = quantile(std::move(ratios), 0.5);
}

/// One policy: a session that is filled step by step to each depth, and one that is timed on copies of it.
class SpeedRunner {
 public:
  SpeedRunner(const Model& model, nn::ThreadPool& pool, const SpeedOptions& options, const std::string& kv)
      : options_(options), kv_(kv) {
    SessionOptions session = options.session;
    session.kv = kv;
    filled_ = std::make_unique<Session>(model, pool, session);
    timed_ = std::make_unique<Session>(model, pool, session);
  }

  /// Feeds all but the last of the tokens before `depth`: rewind() feeds that one.
  void fill(Tokens tokens, std::size_t depth) {
    if (depth > filled_->size() + 1)
      filled_->feed(tokens.subspan(filled_->size(), depth - 1 - filled_->size()));
    row_ = {};
    row_.kv = kv_;
    row_.depth = depth;
    rewind(tokens);
    row_.kv_bytes = timed_->cache().bytes();
    row_.bits_per_element = timed_->cache().bits_per_element();
  }

  void prefill(Tokens tokens, bool record) {
    if (options_.n_prompt == 0) return;
    rewind(tokens);
    const double start = options_.clock();
    timed_->feed(tokens.subspan(row_.depth, options_.n_prompt));
    const double seconds = options_.clock() - start;
    if (record) row_.prefill.tok_per_s.push_back(static_cast<double>(options_.n_prompt) / seconds);
  }

  void decode(Tokens tokens, bool record) {
    if (options_.n_gen == 0) return;
    rewind(tokens);
    const auto before = static_cast<double>(timed_->cache().bytes());
    const double start = options_.clock();
    for (std::size_t i = 0; i < options_.n_gen; ++i) timed_->feed(tokens.subspan(row_.depth + i, 1));
    const double seconds = options_.clock() - start;
    row_.decode_kv_bytes = (before + static_cast<double>(timed_->cache().bytes())) / 2;
    if (record) row_.decode.tok_per_s.push_back(static_cast<double>(options_.n_gen) / seconds);
  }

  SpeedRow& row() { return row_; }

 private:
  /// Puts the timed session at exactly the depth. The last token is fed, not copied, so that the weights,
  /// which the copy may have driven out of the CPU's caches, are back when the clock starts.
  void rewind(Tokens tokens) {
    timed_->copy_tokens(*filled_);
    if (row_.depth > 0) timed_->feed(tokens.subspan(row_.depth - 1, 1));
  }

  const SpeedOptions& options_;
  std::string kv_;
  std::unique_ptr<Session> filled_;
  std::unique_ptr<Session> timed_;
  SpeedRow row_;
};

}  // namespace

std::vector<SpeedRow> measure_speed(const Model& model, nn::ThreadPool& pool, const SpeedOptions& options) {
  std::vector<SpeedRunner> runners;
  for (const std::string& kv : options.kv) runners.emplace_back(model, pool, options, kv);
  const std::size_t most = options.depths.back() + std::max(options.n_prompt, options.n_gen);
  const auto tokens = random_tokens(model, most, options.seed);
  std::vector<SpeedRow> rows;
  for (const std::size_t depth : options.depths) {
    for (SpeedRunner& runner : runners) runner.fill(tokens, depth);
    for (std::size_t round = 0; round <= options.repetitions; ++round) {
      for (SpeedRunner& runner : runners) {
        if (options.on_progress) options.on_progress({depth, runner.row().kv, round});
        runner.prefill(tokens, round > 0);
        runner.decode(tokens, round > 0);
      }
    }
    for (SpeedRunner& runner : runners) {
      summarise(runner.row().prefill, runners.front().row().prefill);
      summarise(runner.row().decode, runners.front().row().decode);
    }
    for (SpeedRunner& runner : runners) rows.push_back(std::move(runner.row()));
  }
  return rows;
}

double roofline_share(double tok_per_s, double bytes, double gb_per_s) {
  return tok_per_s * bytes / (1e9 * gb_per_s);
}

}  // namespace miser::eval
