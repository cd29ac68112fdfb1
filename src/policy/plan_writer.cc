// The writing half of plan_file.h.
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "gguf/writer.h"
#include "policy/plan_file.h"

namespace miser::policy {
namespace {

using Shape = std::vector<std::uint64_t>;

void add_metadata(gguf::Writer& writer, const Plan& plan) {
  const auto number = [&](std::string_view key, std::size_t value) {
    writer.add(key, static_cast<std::uint32_t>(value));
  };
  writer.add("general.architecture", std::string_view("miser-plan"));
  writer.add("miser.plan.version", kPlanVersion);
  writer.add("miser.plan.model.name", std::string_view(plan.model.name));
  writer.add("miser.plan.model.fingerprint", plan.model.fingerprint);
  number("miser.plan.model.layers", plan.model.n_layers);
  number("miser.plan.model.heads", plan.model.n_heads);
  number("miser.plan.model.kv_heads", plan.model.n_kv_heads);
  number("miser.plan.model.head_dim", plan.model.head_dim);
  number("miser.plan.window", plan.window);
  number("miser.plan.block", plan.block);
  writer.add("miser.plan.bits", plan.default_bits);
  writer.add("miser.plan.text_hash", plan.text_hash);
  writer.add("miser.plan.results", std::string_view(plan.results));
  std::vector<std::int32_t> ladder;
  for (const kv::Width width : plan.ladder) ladder.push_back(kv::bits(width));
  writer.add_ints("miser.plan.ladder", ladder);
  if (plan.linear) writer.add_strings("miser.plan.signals", plan.linear->signals);
}

void add_linear(gguf::Writer& writer, const Plan& plan) {
  const LinearController& linear = *plan.linear;
  const std::uint64_t heads = plan.model.n_kv_heads;
  const std::uint64_t layers = plan.model.n_layers;
  const std::uint64_t columns = linear.mean.size() / (heads * layers);
  if (!linear.rope_frequencies.empty())
    writer.add_floats("rope.frequencies", Shape{linear.rope_frequencies.size()}, linear.rope_frequencies);
  writer.add_floats("linear.mean", Shape{columns, heads, layers}, linear.mean);
  writer.add_floats("linear.deviation", Shape{columns, heads, layers}, linear.deviation);
  writer.add_floats("linear.bias", Shape{heads, layers, 2}, linear.bias);
  writer.add_floats("linear.weights", Shape{columns, heads, layers, 2}, linear.weights);
}

void add_paper(gguf::Writer& writer, const PaperController& paper) {
  const std::uint64_t hidden = paper.b1.size();
  writer.add_floats("paper.mean", Shape{4}, paper.mean);
  writer.add_floats("paper.deviation", Shape{4}, paper.deviation);
  writer.add_floats("paper.w1", Shape{4, hidden}, paper.w1);
  writer.add_floats("paper.b1", Shape{hidden}, paper.b1);
  writer.add_floats("paper.w2", Shape{hidden, hidden}, paper.w2);
  writer.add_floats("paper.b2", Shape{hidden}, paper.b2);
  writer.add_floats("paper.w3", Shape{hidden, 4}, paper.w3);
  writer.add_floats("paper.b3", Shape{4}, paper.b3);
}

}  // namespace

void write_plan(const Plan& plan, const std::string& path) {
  gguf::Writer writer;
  add_metadata(writer, plan);
  const std::uint64_t heads = plan.model.n_kv_heads;
  const std::uint64_t layers = plan.model.n_layers;
  std::vector<float> errors(plan.error[0].begin(), plan.error[0].end());
  errors.insert(errors.end(), plan.error[1].begin(), plan.error[1].end());
  writer.add_floats("width.error", Shape{kv::kWidthCount, 2}, errors);
  writer.add_floats("width.stored_bits", Shape{kv::kWidthCount}, plan.stored_bits);
  if (!plan.centre_k.empty()) {
    writer.add_floats("centre.k", Shape{plan.model.head_dim, heads, layers}, plan.centre_k);
    writer.add_floats("centre.v", Shape{plan.model.head_dim, heads, layers}, plan.centre_v);
  }
  writer.add_floats("sensitivity.mean", Shape{heads, layers, 2}, plan.mean_sensitivity);
  if (!plan.price_bits.empty()) {
    writer.add_floats("price.bits", Shape{plan.price_bits.size()}, plan.price_bits);
    writer.add_floats("price.log", Shape{plan.price_log.size()}, plan.price_log);
  }
  if (plan.linear) add_linear(writer, plan);
  if (plan.paper) add_paper(writer, *plan.paper);
  writer.write(path);
}

}  // namespace miser::policy
