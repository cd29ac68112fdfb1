#include "cli/run_engine.h"

#include <fmt/format.h>

#include <chrono>

#include "cli/run_output.h"
#include "cli/shared_options.h"
#include "session/centres.h"
#include "session/plans.h"

namespace miser::cli {
namespace {

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// A status line that goes away with its scope.
struct Status {
  explicit Status(const std::string& text) { show_status(text); }
  ~Status() { show_status(""); }
};

Model load_model(const std::string& path) {
  const Status status("loading " + path);
  return Model::load(path);
}

/// What runs where the user names no policy.
std::string default_policy(const policy::Plans& plans, const std::string& model) {
  if (plans.has_own()) return plans.get("")->linear ? "learned" : "static";
  note(fmt::format(
      "no plan for this model, so its cache is q8; miser train -m {} --text FILE... -o PLAN makes one "
      "for --plan PLAN\n",
      model));
  return "q8";
}

SessionOptions session_options(const RunOptions& options, const Model& of) {
  const ModelConfig& model = of.config();
  SessionOptions session = options.session;
  if (!options.centres.empty()) session.kv_centres = read_centres(options.centres, model);
  session.plans = load_plans(of, options.plan.file, options.plan.force, session.kv_window);
  if (session.kv.empty()) session.kv = default_policy(*session.plans, options.model);
  warn_of_window(*session.plans, session.kv, session);
  if (session.context > model.context) {
    note(fmt::format("warning: a context of {} is more than the {} that the model was trained for\n",
                     session.context, model.context));
  }
  return session;
}

}  // namespace

// The sampler comes first because its options are checked without a model.
Engine::Engine(const RunOptions& options)
    : load_ms(-now_ms()),
      sampler(options.sampling),
      model(load_model(options.model)),
      tokenizer(model.file()),
      pool(options.threads),
      session(model, pool, session_options(options, model)) {
  check_vocabulary(model, tokenizer);
  load_ms += now_ms();
}

}  // namespace miser::cli
