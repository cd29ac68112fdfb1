#include "eval/frontier_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <map>
#include <stdexcept>
#include <utility>

#include "eval/frontier_widths.h"
#include "eval/kl_run.h"
#include "learn/position_rule.h"
#include "learn/trace.h"
#include "policy/policy.h"
#include "policy/replay.h"

namespace miser::eval {
namespace {

/// Arms beside f16 in one lockstep: each keeps the logits of a chunk, 25 MB at 49,152 tokens.
constexpr std::size_t kArmsAtOnce = 8;

constexpr std::size_t kSinks = kv::CacheConfig{}.sinks;

}  // namespace

/// What the arms of one context share: widths by the group of the arm that found them.
struct FrontierRun::Tables {
  std::size_t context;
  std::span<const std::int32_t> tokens;
  std::map<std::string, std::shared_ptr<policy::WidthTable>> learned;
  std::optional<learn::Trace> trace;
};

FrontierRun::FrontierRun(const Model& model, nn::ThreadPool& pool, FrontierOptions options)
    : model_(model), pool_(pool), options_(std::move(options)) {
  options_.session.kv_centres = {options_.plan->centre_k, options_.plan->centre_v};
}

std::vector<std::vector<FrontierArm>> FrontierRun::batches(bool replays) const {
  std::vector<std::vector<FrontierArm>> all;
  for (const bool replayed : {false, true}) {  // learned is over before its widths are replayed
    if (replayed && !replays) break;
    bool fresh = true;
    for (const FrontierArm& arm : options_.arms) {
      if (is_replayed(arm.kind) != replayed) continue;
      if (fresh || all.back().size() == kArmsAtOnce) all.emplace_back();
      all.back().push_back(arm);
      fresh = false;
    }
  }
  return all;
}

std::size_t FrontierRun::steps(std::size_t length, bool replays) const {
  std::size_t n = 0;
  for (const auto& batch : batches(replays)) n += kl_steps(length, options_.skip, batch.size() + 1);
  return n;
}

std::optional<FrontierRecord> FrontierRun::run(std::size_t context, std::span<const std::int32_t> tokens,
                                               bool replays, const OnStep& on_step) {
  Tables tables{context, tokens, {}, {}};
  FrontierRecord all;
  for (const auto& batch : batches(replays)) {
    KlOptions kl{kl_arms({"f16"}, options_.session), options_.skip, nullptr};
    for (const FrontierArm& arm : batch) kl.arms.push_back(session(arm, tables));
    auto record = KlRun(model_, pool_, std::move(kl)).run(context, context, tokens, on_step);
    if (!record) return std::nullopt;
    if (all.arms.empty()) {
      all.arms.emplace_back("f16");
      all.scores = {record->context, record->bytes_f16, record->ids, {record->arms[0]}};
    }
    for (std::size_t i = 0; i < batch.size(); ++i) {
      all.arms.push_back(batch[i].label());
      all.scores.arms.push_back(std::move(record->arms[i + 1]));
    }
  }
  return all;
}

SessionOptions FrontierRun::session(const FrontierArm& arm, Tables& tables) const {
  SessionOptions session = options_.session;
  session.kv = is_fixed(arm.kind) ? arm.pair : arm.group();
  if (arm.kind == ArmKind::kFixedLs) session.kv_scales = kv::ScaleRule::kLeastSquares;
  if (is_replayed(arm.kind)) {
    session.make_policy = [table = std::make_shared<const policy::WidthTable>(replayed(arm, tables))](
                              const policy::SignalHistory&) {
      return std::make_unique<policy::Replay>(table);
    };
  } else if (arm.kind == ArmKind::kLearned) {
    const auto& table = tables.learned[arm.group()] = std::make_shared<policy::WidthTable>(
        model_.config().n_layers, tables.tokens.size(), model_.config().n_kv_heads);
    session.make_policy = [table, plans = session.plans,
                           spec = session.kv](const policy::SignalHistory& history) {
      return std::make_unique<policy::NoteWidths>(policy::parse(spec, history, plans.get()), *table);
    };
  }
  return session;
}

policy::WidthTable FrontierRun::replayed(const FrontierArm& arm, Tables& tables) const {
  const learn::PositionRule rule{options_.session.kv_window, options_.session.kv_block};
  if (arm.kind == ArmKind::kOracle) {
    if (!tables.trace) {
      tables.trace = learn::trace_context(
          model_, pool_, tables.tokens,
          {rule.window, rule.block, kSinks, options_.n_samples, std::uint64_t{1} + tables.context});
    }
    return oracle(*tables.trace, *options_.plan, *arm.bits);
  }
  const Committed committed{kSinks, std::max(rule.exact_begin(tables.tokens.size() - 1), kSinks)};
  const auto& learned = *tables.learned.at(FrontierArm{ArmKind::kLearned, "", arm.bits, 0}.group());
  if (arm.kind == ArmKind::kInverted) return inverted(learned, committed);
  return shuffled(learned, committed, (tables.context << 32U) + arm.seed);
}

nlohmann::json to_json(const FrontierRecord& record) {
  nlohmann::json line = to_json(record.scores);
  line["labels"] = record.arms;
  return line;
}

FrontierRecord to_frontier_record(const nlohmann::json& line, std::size_t n_scored) {
  FrontierRecord record;
  record.arms = line.at("labels").get<std::vector<std::string>>();
  record.scores = to_context_record(line, record.arms.size(), n_scored);
  return record;
}

}  // namespace miser::eval
