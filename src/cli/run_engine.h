#pragma once
#include "cli/run_options.h"
#include "model/model.h"
#include "nn/thread_pool.h"
#include "session/sampler.h"
#include "session/session.h"
#include "tokenizer/tokenizer.h"

namespace miser::cli {

/// Everything that `miser run` loads, built from resolved options.
class Engine {
 public:
  /// Throws Error or UsageError when the model cannot be used or does not fit the options.
  explicit Engine(const RunOptions& options);

  double load_ms;  ///< time that the constructor took
  Sampler sampler;
  Model model;
  Tokenizer tokenizer;
  nn::ThreadPool pool;
  Session session;
};

}  // namespace miser::cli
