#include "session/plans.h"

#include <algorithm>
#include <filesystem>
#include <span>
#include <utility>

#include "base/hash.h"
#include "policy/plan_file.h"
#include "session/built_in_plans.h"

namespace miser {
namespace {

void add_pieces(std::span<const std::byte> data, Hash& hash) {
  constexpr std::size_t kPieces = 16;
  constexpr std::size_t kPieceBytes = 64;
  if (data.size() <= kPieces * kPieceBytes) return hash.add(data);
  for (std::size_t i = 0; i < kPieces; ++i) {
    const std::size_t at = (data.size() - kPieceBytes) * i / (kPieces - 1);
    hash.add(data.subspan(at, kPieceBytes));
  }
}

std::uint64_t fingerprint(const gguf::File& file) {
  Hash hash;
  for (const gguf::Tensor& tensor : file.tensors()) {
    hash.add(tensor.name.size());
    hash.add(std::as_bytes(std::span(tensor.name)));
    hash.add(static_cast<std::uint64_t>(tensor.format->type));
    for (const std::uint64_t dimension : tensor.shape) hash.add(dimension);
    add_pieces(tensor.data, hash);
  }
  return hash.value();
}

std::shared_ptr<const policy::Plan> find_built_in(const policy::PlanModel& model, std::size_t window) {
  const auto distance = [&](const policy::Plan& plan) {
    return std::max(plan.window, window) - std::min(plan.window, window);
  };
  std::shared_ptr<const policy::Plan> nearest;
  for (const BuiltInPlan& built_in : built_in_plans()) {
    const auto file = gguf::File::parse(built_in.bytes, "built-in plan " + std::string(built_in.name));
    const policy::PlanModel of_plan = policy::read_plan_model(file);
    if (of_plan.fingerprint != model.fingerprint) continue;
    policy::check_model(of_plan, file.name(), model, false);
    auto plan = std::make_shared<const policy::Plan>(policy::read_plan(file));
    if (nearest == nullptr || distance(*plan) < distance(*nearest)) nearest = std::move(plan);
  }
  return nearest;
}

}  // namespace

policy::PlanModel plan_model(const Model& model) {
  const ModelConfig& config = model.config();
  return {std::filesystem::path(model.file().name()).filename().string(),
          fingerprint(model.file()),
          config.n_layers,
          config.n_heads,
          config.n_kv_heads,
          config.head_dim};
}

std::shared_ptr<const policy::Plans> load_plans(const Model& model, const std::string& path, bool force,
                                                std::size_t window) {
  const policy::PlanModel of_model = plan_model(model);
  const auto own =
      path.empty() ? find_built_in(of_model, window) : policy::Plans(of_model, nullptr, force).get(path);
  return std::make_shared<const policy::Plans>(of_model, own, force);
}

}  // namespace miser
