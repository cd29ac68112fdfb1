#include "policy/plan_file.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "gguf/printable.h"
#include "policy/features.h"
#include "policy/plan_fields.h"

namespace miser::policy {
namespace {

constexpr std::uint64_t kMaxSize = 1U << 20U;  // far past any model, and products of three fit 64 bits
constexpr std::uint64_t kPaperHidden = 128;

using Shape = std::vector<std::uint64_t>;

void read_ladder(const gguf::File& file, Plan& plan) {
  constexpr std::string_view kKey = "miser.plan.ladder";
  const auto bits = file.find_ints(kKey);
  if (!bits || bits->empty()) fail("{}: no {}, expected widths in bits", file.name(), kKey);
  for (const std::int64_t wanted : *bits) {
    const auto width = std::find_if(kv::kAllWidths.begin(), kv::kAllWidths.end(),
                                    [&](kv::Width w) { return kv::bits(w) == wanted; });
    if (width == kv::kAllWidths.end() || (!plan.ladder.empty() && *width <= plan.ladder.back()))
      fail("{}: {}: found {}, expected some of 1, 2, 3, 4, 8, 16, rising", file.name(), kKey, wanted);
    plan.ladder.push_back(*width);
  }
}

void read_widths(const gguf::File& file, Plan& plan) {
  const auto errors =
      read_tensor(file, "width.error", Shape{kv::kWidthCount, 2}, Values::kNotNegative);  // row: a side
  for (std::size_t side = 0; side < 2; ++side) {
    std::copy_n(errors.begin() + static_cast<std::ptrdiff_t>(side * kv::kWidthCount), kv::kWidthCount,
                plan.error[side].begin());
  }
  const auto bits = read_tensor(file, "width.stored_bits", Shape{kv::kWidthCount}, Values::kPositive);
  if (std::adjacent_find(bits.begin(), bits.end(), std::greater_equal<>()) != bits.end())
    fail("{}: tensor width.stored_bits: found numbers that do not rise", file.name());
  std::copy(bits.begin(), bits.end(), plan.stored_bits.begin());
}

void read_price(const gguf::File& file, Plan& plan) {
  const gguf::Tensor* tensor = file.find_tensor("price.bits");
  if (tensor == nullptr) return;
  const Shape shape = {tensor->cols()};
  plan.price_bits = read_tensor(file, "price.bits", shape, Values::kPositive);
  plan.price_log = read_tensor(file, "price.log", shape);
  const auto& bits = plan.price_bits;
  if (std::adjacent_find(bits.begin(), bits.end(), std::greater_equal<>()) != bits.end())
    fail("{}: tensor price.bits: found budgets that do not rise", file.name());
}

std::vector<std::string> read_signals(const gguf::File& file) {
  constexpr std::string_view kKey = "miser.plan.signals";
  const auto* names = file.find_strings(kKey);
  if (names == nullptr) fail("{}: no {}, expected an array of strings", file.name(), kKey);
  std::vector<std::string> out;
  for (const std::string_view name : *names) {
    if (!is_signal(name))
      fail("{}: {}: found '{}', expected some of {}", file.name(), kKey, gguf::printable(name, 40),
           signal_names());
    out.emplace_back(name);
  }
  if (out.empty()) fail("{}: {}: found no names", file.name(), kKey);
  return out;
}

std::vector<float> read_rope_frequencies(const gguf::File& file, std::size_t head_dim) {
  constexpr std::string_view kName = "rope.frequencies";
  const gguf::Tensor* tensor = file.find_tensor(kName);
  if (tensor == nullptr) return {};
  if (tensor->cols() > head_dim / 2)
    fail("{}: tensor {}: found {} pairs, expected at most {} of a head of {}", file.name(), kName,
         tensor->cols(), head_dim / 2, head_dim);
  return read_tensor(file, kName, Shape{tensor->cols()}, Values::kPositive);
}

void read_linear(const gguf::File& file, Plan& plan) {
  if (file.find_tensor("linear.weights") == nullptr) return;
  LinearController& linear = plan.linear.emplace();
  linear.signals = read_signals(file);
  const PlanModel& model = plan.model;
  linear.rope_frequencies = read_rope_frequencies(file, model.head_dim);
  const std::uint64_t columns =
      SignalSet(linear.signals, model.n_heads / model.n_kv_heads, model.head_dim).columns();
  const Shape one = {columns, model.n_kv_heads, model.n_layers};
  linear.mean = read_tensor(file, "linear.mean", one);
  linear.deviation = read_tensor(file, "linear.deviation", one, Values::kPositive);
  linear.bias = read_tensor(file, "linear.bias", Shape{model.n_kv_heads, model.n_layers, 2});
  linear.weights = read_tensor(file, "linear.weights", Shape{columns, model.n_kv_heads, model.n_layers, 2});
}

void read_paper(const gguf::File& file, Plan& plan) {
  if (file.find_tensor("paper.w1") == nullptr) return;
  PaperController& paper = plan.paper.emplace();
  const auto mean = read_tensor(file, "paper.mean", Shape{4});
  const auto deviation = read_tensor(file, "paper.deviation", Shape{4}, Values::kPositive);
  std::copy(mean.begin(), mean.end(), paper.mean.begin());
  std::copy(deviation.begin(), deviation.end(), paper.deviation.begin());
  paper.w1 = read_tensor(file, "paper.w1", Shape{4, kPaperHidden});
  paper.b1 = read_tensor(file, "paper.b1", Shape{kPaperHidden});
  paper.w2 = read_tensor(file, "paper.w2", Shape{kPaperHidden, kPaperHidden});
  paper.b2 = read_tensor(file, "paper.b2", Shape{kPaperHidden});
  paper.w3 = read_tensor(file, "paper.w3", Shape{kPaperHidden, 4});
  paper.b3 = read_tensor(file, "paper.b3", Shape{4});
}

void check_version(const gguf::File& file) {
  const std::uint64_t version = read_uint(file, "miser.plan.version", 0, UINT32_MAX);
  if (version != kPlanVersion)
    fail("{}: miser.plan.version: found {}, expected {}", file.name(), version, kPlanVersion);
}

}  // namespace

bool is_plan(const gguf::File& file) {
  return file.find("miser.plan.version") != nullptr;
}

PlanModel read_plan_model(const gguf::File& file) {
  if (!is_plan(file)) fail("{}: no miser.plan.version: found no plan, expected one", file.name());
  check_version(file);
  PlanModel model;
  model.name = read_string(file, "miser.plan.model.name");
  model.fingerprint = read_uint(file, "miser.plan.model.fingerprint", 0, UINT64_MAX);
  model.n_layers = read_uint(file, "miser.plan.model.layers", 1, kMaxSize);
  model.n_heads = read_uint(file, "miser.plan.model.heads", 1, kMaxSize);
  model.n_kv_heads = read_uint(file, "miser.plan.model.kv_heads", 1, model.n_heads);
  model.head_dim = read_uint(file, "miser.plan.model.head_dim", 1, kMaxSize);
  if (model.n_heads % model.n_kv_heads != 0)
    fail("{}: miser.plan.model.kv_heads: found {}, expected a divisor of the {} heads", file.name(),
         model.n_kv_heads, model.n_heads);
  return model;
}

Plan read_plan(const gguf::File& file) {
  Plan plan;
  plan.model = read_plan_model(file);
  const PlanModel& model = plan.model;
  plan.window = read_uint(file, "miser.plan.window", 0, UINT32_MAX);
  plan.block = read_uint(file, "miser.plan.block", 1, UINT32_MAX);
  plan.default_bits = read_number(file, "miser.plan.bits", 1, 16);
  plan.text_hash = read_uint(file, "miser.plan.text_hash", 0, UINT64_MAX);
  plan.results = read_string(file, "miser.plan.results");
  read_ladder(file, plan);
  read_widths(file, plan);
  if (file.find_tensor("centre.k") != nullptr) {
    const Shape shape = {model.head_dim, model.n_kv_heads, model.n_layers};
    plan.centre_k = read_tensor(file, "centre.k", shape);
    plan.centre_v = read_tensor(file, "centre.v", shape);
  }
  plan.mean_sensitivity =
      read_tensor(file, "sensitivity.mean", Shape{model.n_kv_heads, model.n_layers, 2}, Values::kNotNegative);
  read_price(file, plan);
  read_linear(file, plan);
  read_paper(file, plan);
  return plan;
}

void check_model(const PlanModel& plan, const std::string& name, const PlanModel& model, bool force) {
  const auto shape = [](const PlanModel& m) {
    return fmt::format("{} layers, {} heads, {} KV heads, head_dim {}", m.n_layers, m.n_heads, m.n_kv_heads,
                       m.head_dim);
  };
  const std::string found = shape(plan);
  const std::string expected = shape(model);
  if (found != expected) fail("{}: found a plan for {}, expected {} for this model", name, found, expected);
  if (plan.fingerprint != model.fingerprint && !force)
    fail(
        "{}: found a plan for the weights {:016x} ({}), expected {:016x} for this model ({}); --force uses "
        "it "
        "all the same",
        name, plan.fingerprint, gguf::printable(plan.name, 60), model.fingerprint, model.name);
}

}  // namespace miser::policy
