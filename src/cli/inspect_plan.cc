#include "cli/inspect_plan.h"

#include <fmt/ranges.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "cli/plan_results.h"
#include "gguf/printable.h"

namespace miser::cli {
namespace {

using nlohmann::json;
using policy::Plan;

constexpr const char* kSides[] = {"K", "V"};

/// Geometric mean over the KV heads of one layer and side.
double mean_sensitivity(const Plan& plan, std::size_t side, std::size_t layer) {
  const std::size_t heads = plan.model.n_kv_heads;
  const auto of_layer =
      std::span(plan.mean_sensitivity).subspan((side * plan.model.n_layers + layer) * heads, heads);
  double sum = 0;
  for (const float s : of_layer) sum += std::log(s);
  return std::exp(sum / static_cast<double>(heads));
}

std::vector<int> ladder_bits(const Plan& plan) {
  std::vector<int> bits;
  for (const kv::Width width : plan.ladder) bits.push_back(kv::bits(width));
  return bits;
}

std::size_t columns(const Plan& plan) {
  return plan.linear->mean.size() / (plan.model.n_layers * plan.model.n_kv_heads);
}

std::string head_text(const Plan& plan, const std::string& path) {
  const policy::PlanModel& m = plan.model;
  return fmt::format(
      "{}: plan for {} ({:016x})\n"
      "  model       {} layers, {} heads, {} KV heads, head_dim {}\n"
      "  trained     window {}, blocks of {}, text {:016x}\n"
      "  budget      {} bits per element unless told otherwise\n"
      "  widths      {}\n"
      "  centres     {}\n",
      path, gguf::printable(m.name), m.fingerprint, m.n_layers, m.n_heads, m.n_kv_heads, m.head_dim,
      plan.window, plan.block, plan.text_hash, plan.default_bits, fmt::join(ladder_bits(plan), ", "),
      plan.centre_k.empty() ? "none" : "K and V");
}

std::string controllers_text(const Plan& plan) {
  std::string out = "  learned     none\n";
  if (plan.linear) {
    out = fmt::format("  learned     {} weights on {} columns of {}\n", plan.linear->weights.size(),
                      columns(plan), fmt::join(plan.linear->signals, ", "));
  }
  return out + fmt::format("  paper       {}\n", plan.paper ? "4-128-128-4 network" : "none");
}

std::string widths_text(const Plan& plan) {
  std::string out =
      fmt::format("\nWidths\n  {:>5}{:>13}{:>12}{:>12}\n", "bits", "stored bits", "error K", "error V");
  for (const kv::Width width : kv::kAllWidths) {
    const auto w = static_cast<std::size_t>(width);
    out += fmt::format("  {:>5}{:>13.4f}{:>12.3g}{:>12.3g}\n", kv::bits(width), plan.stored_bits[w],
                       plan.error[0][w], plan.error[1][w]);
  }
  return out;
}

std::string prices_text(const Plan& plan) {
  if (plan.price_bits.empty()) return "";
  std::string out =
      fmt::format("\nPrice of a bit on the training text\n  {:>9}{:>12}\n", "budget", "ln price");
  for (std::size_t i = 0; i < plan.price_bits.size(); ++i) {
    out += fmt::format("  {:>9.2f}{:>12.3f}\n", plan.price_bits[i], plan.price_log[i]);
  }
  return out;
}

std::string layers_text(const Plan& plan) {
  std::string out = fmt::format(
      "\nMean sensitivity (KL in nats per future query and unit of relative error)\n"
      "  {:>5}{:>12}{:>12}\n",
      "layer", kSides[0], kSides[1]);
  for (std::size_t layer = 0; layer < plan.model.n_layers; ++layer) {
    out += fmt::format("  {:>5}{:>12.3g}{:>12.3g}\n", layer, mean_sensitivity(plan, 0, layer),
                       mean_sensitivity(plan, 1, layer));
  }
  return out;
}

}  // namespace

std::string plan_text(const Plan& plan, const std::string& path) {
  return head_text(plan, path) + controllers_text(plan) + results_text(plan.results) + widths_text(plan) +
         prices_text(plan) + layers_text(plan);
}

json plan_json(const Plan& plan, const std::string& path) {
  const policy::PlanModel& m = plan.model;
  json sensitivities = json::object();
  for (std::size_t side = 0; side < 2; ++side) {
    for (std::size_t layer = 0; layer < m.n_layers; ++layer)
      sensitivities[kSides[side]].push_back(mean_sensitivity(plan, side, layer));
  }
  json out = {{"path", path},
              {"model", m.name},
              {"fingerprint", fmt::format("{:016x}", m.fingerprint)},
              {"layers", m.n_layers},
              {"heads", m.n_heads},
              {"kv_heads", m.n_kv_heads},
              {"head_dim", m.head_dim},
              {"window", plan.window},
              {"block", plan.block},
              {"text_hash", fmt::format("{:016x}", plan.text_hash)},
              {"bits", plan.default_bits},
              {"ladder", ladder_bits(plan)},
              {"stored_bits", plan.stored_bits},
              {"error", {{"K", plan.error[0]}, {"V", plan.error[1]}}},
              {"price", {{"bits", plan.price_bits}, {"ln_price", plan.price_log}}},
              {"mean_sensitivity", sensitivities},
              {"centres", !plan.centre_k.empty()},
              {"paper", plan.paper.has_value()},
              {"signals", plan.linear ? json(plan.linear->signals) : json()}};
  // What is no JSON stays a string.
  out["results"] = json::parse(plan.results, nullptr, false);
  if (out["results"].is_discarded()) out["results"] = plan.results;
  return out;
}

}  // namespace miser::cli
