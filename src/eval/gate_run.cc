#include "eval/gate_run.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "eval/kl_run.h"
#include "learn/fit_controller.h"
#include "policy/replay.h"

namespace miser::eval {
namespace {

/// Groups beside f16 in one lockstep: each keeps the logits of a chunk, 25 MB at 49,152 tokens.
constexpr std::size_t kGroupsAtOnce = 8;

std::shared_ptr<const policy::WidthTable> width_table(const GateGroup& group, const learn::Trace& trace) {
  auto table = std::make_shared<policy::WidthTable>(trace.n_layers, trace.length, trace.n_kv_heads);
  for (const GateChoice& choice : group.choices) {
    const std::size_t head = choice.vector / trace.n;  // (side, layer, KV head)
    const std::size_t layer = head / trace.n_kv_heads;
    table->at(layer / trace.n_layers, layer % trace.n_layers, trace.first + choice.vector % trace.n,
              head % trace.n_kv_heads) = choice.width;
  }
  return table;
}

/// The first `n` tokens of each head.
learn::Sensitivities front(const learn::Sensitivities& all, std::size_t n) {
  learn::Sensitivities out{all.n_layers, all.n_kv_heads, n, {}};
  for (std::size_t at = 0; at < all.log_s.size(); at += all.n) {
    const auto tokens = std::span(all.log_s).subspan(at, n);
    out.log_s.insert(out.log_s.end(), tokens.begin(), tokens.end());
  }
  return out;
}

}  // namespace

double predicted_kl(const GateGroup& group, const learn::Sensitivities& sensitivities,
                    std::span<const float> future, const policy::Plan& plan) {
  double sum = 0;
  const std::size_t half = sensitivities.log_s.size() / 2;
  for (const GateChoice& choice : group.choices) {
    const auto& error = plan.error[choice.vector / half];
    sum += std::exp(static_cast<double>(sensitivities.log_s[choice.vector])) *
           static_cast<double>(future[choice.vector % sensitivities.n]) *
           static_cast<double>(error[static_cast<std::size_t>(choice.width)]);
  }
  return sum;
}

std::optional<std::vector<double>> measured_kl(const Model& model, nn::ThreadPool& pool,
                                               std::span<const GateGroup> groups, const learn::Trace& trace,
                                               const policy::Plan& plan, const OnGateStep& on_step) {
  SessionOptions session;
  session.kv_window = trace.window;
  session.kv_block = trace.block;
  session.kv_centres = {plan.centre_k, plan.centre_v};
  std::vector<double> means;
  while (means.size() < groups.size()) {
    KlOptions kl{kl_arms({"f16"}, session), 0, nullptr};
    for (const GateGroup& group :
         groups.subspan(means.size(), std::min(kGroupsAtOnce, groups.size() - means.size()))) {
      kl.arms.push_back(session);
      kl.arms.back().make_policy = [table = width_table(group, trace)](const policy::SignalHistory&) {
        return std::make_unique<policy::Replay>(table);
      };
    }
    const auto record = KlRun(model, pool, std::move(kl)).run(0, 0, trace.ids, on_step);
    if (!record) return std::nullopt;
    for (const ArmScores& arm : std::span(record->arms).subspan(1)) {
      const double sum = std::accumulate(arm.kl.begin(), arm.kl.end(), 0.0);
      means.push_back(sum / static_cast<double>(arm.kl.size()));
    }
  }
  return means;
}

std::size_t GateRun::steps(std::size_t length) const {
  std::size_t n = 0;
  const std::size_t groups = kGroupKinds.size() * options_.n_groups;
  for (std::size_t first = 0; first < groups; first += kGroupsAtOnce)
    n += kl_steps(length, 0, std::min(kGroupsAtOnce, groups - first) + 1);
  return n;
}

std::optional<GateRecord> GateRun::run(std::size_t context, std::span<const std::int32_t> tokens,
                                       const OnGateStep& on_step) {
  const policy::Plan& plan = *options_.plan;
  const std::uint64_t seed = (std::uint64_t{context} << 32U) + options_.seed;
  const learn::Trace trace = learn::trace_context(
      model_, pool_, tokens, {plan.window, plan.block, kv::CacheConfig{}.sinks, options_.n_samples, seed});
  const auto traced = learn::sensitivities(trace, {plan.centre_k, plan.centre_v}, trace.n);
  const auto predicted = learn::predicted_sensitivities(plan, trace, trace.n, pool_);
  const auto groups = draw_groups(traced.log_s.size(), options_.n_groups, seed);
  const auto measured = measured_kl(model_, pool_, groups, trace, plan, on_step);
  if (!measured) return std::nullopt;
  const auto length = static_cast<double>(tokens.size());
  GateRecord record;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    record.points.push_back({groups[i].kind, groups[i].choices.size(), (*measured)[i],
                             predicted_kl(groups[i], traced, trace.future, plan) / length,
                             predicted_kl(groups[i], predicted, trace.future, plan) / length});
  }
  record.traced = front(traced, learn::kept_tokens(trace));
  record.predicted = front(predicted, learn::kept_tokens(trace));
  return record;
}

}  // namespace miser::eval
