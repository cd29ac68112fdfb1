// What a context shift costs: shift_loss MODEL TEXT CONTEXT TOKENS KV... reads the text twice with each
// policy, once with the context shifting, once from scratch with the tokens that every shift keeps, and
// compares what the two predict of the tokens after the first shift. docs/cache-layout.md has the numbers.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "session/plans.h"
#include "session/session.h"
#include "tokenizer/tokenizer.h"

namespace {

using miser::Session;
using Tokens = std::vector<std::int32_t>;

/// Sums over tokens.
struct Loss {
  double nll = 0;       ///< of the shifted session
  double nll_from = 0;  ///< from scratch
  double kl = 0;        ///< from scratch || shifted
  double n = 0;
};

std::vector<double> log_softmax(std::span<const float> logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float z : logits) sum += std::exp(z - max);
  std::vector<double> out(logits.begin(), logits.end());
  for (double& z : out) z -= max + std::log(sum);
  return out;
}

void add(std::span<const float> shifted, std::span<const float> from, std::int32_t next, Loss& loss) {
  const auto p = log_softmax(from);
  const auto q = log_softmax(shifted);
  for (std::size_t i = 0; i < p.size(); ++i) loss.kl += std::exp(p[i]) * (p[i] - q[i]);
  loss.nll -= q[static_cast<std::size_t>(next)];
  loss.nll_from -= p[static_cast<std::size_t>(next)];
  ++loss.n;
}

class Measure {
 public:
  Measure(const miser::Model& model, miser::nn::ThreadPool& pool, const miser::SessionOptions& options)
      : model_(model), pool_(pool), options_(options), session_(model, pool, options) {
    options_.context_shift = false;
    from_ = std::make_unique<Session>(model, pool, options_);
  }

  void run(const Tokens& tokens, std::size_t report_every) {
    const std::span<const std::int32_t> all(tokens);
    session_.feed(all.first(options_.context));
    std::size_t done = options_.context;
    Loss loss;
    while (done + 1 < tokens.size()) {
      if (session_.size() == session_.capacity()) start_again(all.first(done));
      constexpr std::size_t kPiece = 32;
      const std::size_t n =
          std::min({kPiece, session_.capacity() - session_.size(), tokens.size() - 1 - done});
      feed(all.subspan(done, n), all.subspan(done + 1, n), loss);
      done += n;
      if (done / report_every > (done - n) / report_every) {
        report(done, loss);
        loss = {};
      }
    }
  }

 private:
  /// Lets the session shift and gives the other what is kept.
  void start_again(std::span<const std::int32_t> read) {
    const std::size_t sinks = session_.cache().config().sinks;
    session_.shift();
    const std::size_t n_held = session_.n_read() - session_.cache().n_dropped() - sinks;
    from_->clear();
    Tokens kept(read.begin(), read.begin() + static_cast<std::ptrdiff_t>(sinks));
    kept.insert(kept.end(), read.end() - static_cast<std::ptrdiff_t>(n_held), read.end());
    from_->feed(kept);
  }

  void feed(std::span<const std::int32_t> tokens, std::span<const std::int32_t> next, Loss& loss) {
    const std::size_t n_vocab = model_.config().n_vocab;
    std::vector<float> shifted;
    session_.feed_all(tokens, [&](std::size_t, std::span<const float> logits) {
      shifted.insert(shifted.end(), logits.begin(), logits.end());
    });
    from_->feed_all(tokens, [&](std::size_t first, std::span<const float> logits) {
      for (std::size_t i = 0; i < logits.size() / n_vocab; ++i)
        add(std::span(shifted).subspan((first + i) * n_vocab, n_vocab), logits.subspan(i * n_vocab, n_vocab),
            next[first + i], loss);
    });
  }

  void report(std::size_t done, const Loss& loss) const {
    fmt::print("| {} | {} | {:.3f} | {:.3f} | {:.4f} |\n", session_.policy().name(), done,
               std::exp(loss.nll / loss.n), std::exp(loss.nll_from / loss.n), loss.kl / loss.n);
    std::fflush(stdout);
  }

  const miser::Model& model_;
  miser::nn::ThreadPool& pool_;
  miser::SessionOptions options_;
  Session session_;
  std::unique_ptr<Session> from_;
};

void measure(int argc, char** argv) {
  if (argc < 6) miser::fail_usage("usage: shift_loss MODEL TEXT CONTEXT TOKENS KV...");
  const miser::Model model = miser::Model::load(argv[1]);
  const miser::Tokenizer tokenizer(model.file());
  std::ifstream file(argv[2], std::ios::binary);
  Tokens tokens = tokenizer.encode(std::string(std::istreambuf_iterator<char>(file), {}));
  tokens.resize(std::min<std::size_t>(tokens.size(), std::stoul(argv[4])));
  miser::nn::ThreadPool pool(2);
  fmt::print("| policy | tokens read | perplexity, shifted | from scratch | KL |\n|---|---|---|---|---|\n");
  for (int i = 5; i < argc; ++i) {
    miser::SessionOptions options;
    options.kv = argv[i];
    options.context = std::stoul(argv[3]);
    options.context_shift = true;
    options.plans = miser::load_plans(model, "", false, options.kv_window);
    Measure(model, pool, options).run(tokens, 4 * options.context);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    measure(argc, argv);
  } catch (const miser::Error& error) {
    fmt::print(stderr, "shift_loss: {}\n", error.what());
    return 1;
  }
  return 0;
}
