#pragma once
#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "policy/features.h"
#include "policy/priced.h"
#include "policy/unturned_keys.h"

namespace miser::policy {

/// The plan's linear functions rate each vector by its predicted sensitivity.
class Learned final : public Priced {
 public:
  /// REQUIRES: plan->linear.
  Learned(const std::shared_ptr<const Plan>& plan, float budget, std::string name);
  bool wants_received() const override { return signals_.wants_received(); }
  bool wants_norms() const override { return signals_.wants_norms(); }
  bool wants_vectors() const override { return signals_.wants_vectors(); }
  void rate(const kv::LeavingBlock& block, std::span<float> out) override;
  void copy_state(const Policy& other) override;

 private:
  /// Positions of which the layer below may still be remembered: those that leave in one chunk, which is no
  /// longer than a period, and a block.
  static constexpr std::size_t kRemembered = 1024;

  void read_below(const kv::LeavingBlock& block, const SignalSource& source);
  void predict(const kv::LeavingBlock& block, std::span<float> out) const;

  SignalSet signals_;
  UnturnedKeys unturned_;
  std::array<float, kRemembered> below_{};  ///< by position: mean ln(received) of the layer decided last
  std::vector<float> block_below_;          ///< [n_tokens]
  std::vector<float> block_layer_;          ///< [n_tokens]
  std::vector<float> keys_;                 ///< [n_tokens, n_kv_heads, head_dim] before RoPE
  std::vector<float> columns_;              ///< [n_tokens, n_kv_heads, columns of the signals]
};

}  // namespace miser::policy
