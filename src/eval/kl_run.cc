#include "eval/kl_run.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "base/error.h"

namespace miser::eval {
namespace {

/// Tokens that all arms process in turn. Larger chunks make products a little faster and need more memory
/// for logits: 128 x 49,152 floats are 25 MB an arm.
constexpr std::size_t kChunk = 128;

/// First position after the chunk that starts at `begin`: no chunk is partly scored.
std::size_t chunk_end(std::size_t begin, std::size_t skip, std::size_t length) {
  const std::size_t end = std::min(begin + kChunk, length);
  return begin < skip ? std::min(end, skip) : end;
}

}  // namespace

/// A chunk of a context.
struct KlRun::Place {
  std::size_t source;
  std::span<const std::int32_t> tokens;  ///< the whole context
  std::size_t begin;
  std::size_t end;
  std::size_t n_scored;  ///< of the chunk: all or none, but for the context's last token
};

std::vector<SessionOptions> kl_arms(const std::vector<std::string>& kv, const SessionOptions& session) {
  std::vector<SessionOptions> arms(kv.size(), session);
  for (std::size_t i = 0; i < kv.size(); ++i) arms[i].kv = kv[i];
  if (!arms.empty()) arms.front().kv_memory = 0;  // the reference has no limit
  return arms;
}

std::size_t kl_steps(std::size_t length, std::size_t skip, std::size_t n_arms) {
  std::size_t n = 0;
  for (std::size_t begin = 0; begin < length; begin = chunk_end(begin, skip, length)) ++n;
  return n * n_arms;
}

KlRun::KlRun(const Model& model, nn::ThreadPool& pool, KlOptions options)
    : model_(model), pool_(pool), options_(std::move(options)), n_vocab_(model.config().n_vocab) {
  assert(!options_.arms.empty() && options_.arms[0].kv == "f16");
  weights_.resize(kChunk * n_vocab_);
  rows_.resize(kChunk);
  scratch_.resize(static_cast<std::size_t>(pool.size()) * n_vocab_);
  if (options_.reference != nullptr) stored_.resize(kChunk * n_vocab_);
}

std::optional<ContextRecord> KlRun::run(std::size_t context, std::size_t source,
                                        std::span<const std::int32_t> tokens, const OnStep& on_step) {
  assert(options_.skip + 1 < tokens.size());
  ContextRecord record;
  record.context = context;
  record.ids.assign(tokens.begin() + static_cast<std::ptrdiff_t>(options_.skip) + 1, tokens.end());
  record.arms.resize(options_.arms.size());
  sessions_.clear();  // new ones, so that bytes do not depend on contexts before
  for (SessionOptions session : options_.arms) {
    session.context = tokens.size();
    session.batch = kChunk;
    sessions_.push_back(std::make_unique<Session>(model_, pool_, session));
  }
  for (std::size_t begin = 0; begin < tokens.size();) {
    const std::size_t end = chunk_end(begin, options_.skip, tokens.size());
    const std::size_t scored_end = std::min(end, tokens.size() - 1);
    const Place place{source, tokens, begin, end, begin < options_.skip ? 0 : scored_end - begin};
    if (!run_chunk(place, record, on_step)) return std::nullopt;
    begin = end;
  }
  record.bytes_f16 = sessions_[0]->cache().bytes_f16();
  for (std::size_t arm = 0; arm < sessions_.size(); ++arm) {
    record.arms[arm].bytes = sessions_[arm]->cache().bytes();
    record.arms[arm].vectors_at = sessions_[arm]->cache().vectors_at();
  }
  return record;
}

bool KlRun::run_chunk(const Place& place, ContextRecord& record, const OnStep& on_step) {
  const auto chunk = place.tokens.subspan(place.begin, place.end - place.begin);
  if (options_.reference != nullptr) read_reference(place);
  for (std::size_t arm = 0; arm < sessions_.size(); ++arm) {
    if (place.n_scored == 0) {
      sessions_[arm]->feed(chunk);  // no logits, which cost a fifth of the pass
    } else {
      sessions_[arm]->feed_all(chunk, [&](std::size_t first, std::span<const float> logits) {
        // The first session keeps its logits until the next chunk, so the rows may refer to them.
        if (arm == 0 && options_.reference == nullptr) {
          assert(first == 0);
          for (std::size_t i = 0; i < place.n_scored; ++i)
            rows_[i].logits = logits.subspan(i * n_vocab_, n_vocab_);
          pool_.parallel_for(place.n_scored, [&](std::size_t i, int) { prepare(i, rows_[i].logits); });
        }
        score_rows(place, first, logits, record.arms[arm]);
      });
    }
    if (!on_step()) return false;
  }
  return true;
}

void KlRun::prepare(std::size_t row, std::span<const float> logits) {
  const auto weights = std::span(weights_).subspan(row * n_vocab_, n_vocab_);
  rows_[row] = options_.reference == nullptr ? reference_row(logits, weights)
                                             : partial_reference_row(logits, LogitsFile::kFloor, weights);
}

void KlRun::read_reference(const Place& place) {
  pool_.parallel_for(place.n_scored, [&](std::size_t i, int) {
    const auto row = std::span(stored_).subspan(i * n_vocab_, n_vocab_);
    options_.reference->read_row(place.source, place.begin + i, row);
    prepare(i, row);
  });
}

void KlRun::score_rows(const Place& place, std::size_t first, std::span<const float> logits,
                       ArmScores& scores) {
  const std::size_t end = std::min(first + logits.size() / n_vocab_, place.n_scored);
  if (end <= first) return;
  const std::size_t n = end - first;
  const std::size_t at = scores.kl.size();
  scores.kl.resize(at + n);
  scores.logprob.resize(at + n);
  scores.top.resize(at + n);
  pool_.parallel_for(n, [&](std::size_t i, int worker) {
    const auto scratch = std::span(scratch_).subspan(static_cast<std::size_t>(worker) * n_vocab_, n_vocab_);
    const TokenScore of = score(rows_[first + i], logits.subspan(i * n_vocab_, n_vocab_),
                                place.tokens[place.begin + first + i + 1], scratch);
    scores.kl[at + i] = static_cast<float>(of.kl);
    scores.logprob[at + i] = static_cast<float>(of.logprob);
    scores.top[at + i] = of.same_top ? '1' : '0';
  });
  for (std::size_t i = at; i < at + n; ++i) {
    if (!std::isfinite(scores.kl[i]) || !std::isfinite(scores.logprob[i]))
      fail("{}: the logits at position {} of a context are no finite numbers", model_.file().name(),
           options_.skip + i);
  }
}

}  // namespace miser::eval
