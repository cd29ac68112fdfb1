#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "eval/gate_groups.h"
#include "learn/fit_samples.h"
#include "learn/trace.h"
#include "model/model.h"
#include "nn/thread_pool.h"
#include "policy/plan.h"

namespace miser::eval {

struct GateOptions {
  std::shared_ptr<const policy::Plan> plan;  ///< with a linear controller; its window and block are used
  std::size_t n_groups = 12;                 ///< of each kind and context
  std::size_t n_samples = 8;                 ///< of the traced sensitivities
  std::uint64_t seed = 1;                    ///< of the groups and the samples
};

/// One group: mean KL from f16 of the context's tokens, nats.
struct GatePoint {
  GroupKind kind = GroupKind::kWide;
  std::size_t n_vectors = 0;
  double measured = 0;   ///< through the cache
  double traced = 0;     ///< sum of sensitivity times error of the width, sensitivities by the backward pass
  double predicted = 0;  ///< the same, sensitivities as the plan's controller predicts them
};

struct GateRecord {
  std::vector<GatePoint> points;
  learn::Sensitivities traced;     ///< of the tokens that are kept for training (learn::kept_tokens)
  learn::Sensitivities predicted;  ///< of the same
};

/// Sum over the group of sensitivity * queries that read the vector packed * error of its width: the KL in
/// nats of all tokens together, to second order. `future` [sensitivities.n].
double predicted_kl(const GateGroup& group, const learn::Sensitivities& sensitivities,
                    std::span<const float> future, const policy::Plan& plan);

/// Called after each chunk of each group; false stops the run.
using OnGateStep = std::function<bool()>;

/// Quantises each group of vectors of a traced context and nothing else, through the real cache with the
/// trace's rule of positions and the plan's centres: mean KL from f16 of the context's tokens, nats. Empty
/// when on_step stopped it.
std::optional<std::vector<double>> measured_kl(const Model& model, nn::ThreadPool& pool,
                                               std::span<const GateGroup> groups, const learn::Trace& trace,
                                               const policy::Plan& plan, const OnGateStep& on_step);

/// Compares for groups of vectors what quantising them costs with what sensitivities say: whether those are
/// worth being learned.
class GateRun {
 public:
  /// `model` and `pool` outlive it.
  GateRun(const Model& model, nn::ThreadPool& pool, GateOptions options)
      : model_(model), pool_(pool), options_(std::move(options)) {}

  /// Calls of on_step in a context of `length` tokens.
  std::size_t steps(std::size_t length) const;

  /// Empty when on_step stopped it. Throws Error when no query of the context reads a packed token.
  std::optional<GateRecord> run(std::size_t context, std::span<const std::int32_t> tokens,
                                const OnGateStep& on_step);

 private:
  const Model& model_;
  nn::ThreadPool& pool_;
  GateOptions options_;
};

}  // namespace miser::eval
