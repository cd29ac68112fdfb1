#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "policy/plan.h"
#include "policy/policy.h"
#include "policy/price.h"
#include "policy/static.h"

namespace miser::policy {

/// A policy that rates every vector and gives it the width that minimises exp(rating) * error + price * bits.
/// While no price is known, the static plan of the same budget decides.
class Priced : public Policy {
 public:
  std::string name() const override { return name_; }
  kv::Centres centres() const override { return {plan_->centre_k, plan_->centre_v}; }
  std::size_t decision_period() const override { return Price::kPeriod; }
  std::span<const float> ratings() const override { return ratings_; }
  kv::Width widest() const override;
  void choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) override;
  void clear() override;
  void copy_state(const Policy& other) override;
  void renumber(std::size_t n) override { price_.renumber(n); }
  void save_state(ByteWriter& out) const override { price_.save(out); }
  void load_state(ByteReader& in) override { price_.load(in); }
  std::uint64_t plan_fingerprint() const override { return fingerprint(*plan_); }

  /// Fills `out` [K and V, n_tokens, n_kv_heads] with ln of a sensitivity. Called once per layer and block,
  /// in order of positions within a layer, a block's layers from the lowest up.
  virtual void rate(const kv::LeavingBlock& block, std::span<float> out) = 0;
  const Price& price() const { return price_; }

 protected:
  Priced(std::shared_ptr<const Plan> plan, float budget, std::optional<float> log_price, std::string name);
  const Plan& plan() const { return *plan_; }

 private:
  std::shared_ptr<const Plan> plan_;
  std::string name_;
  Static fallback_;
  Price initial_;
  Price price_;
  std::vector<float> ratings_;  ///< [2, n_tokens, n_kv_heads]
};

}  // namespace miser::policy
