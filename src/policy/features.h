#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace miser::policy {

/// What the signals of the vectors of one layer are made of: `n` tokens that leave the window. All are known
/// at that moment; nothing comes from layers above. group = n_heads / n_kv_heads.
struct SignalSource {
  std::size_t n = 0;
  std::size_t n_heads = 0;
  std::size_t n_kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t first_position = 0;
  std::span<const float> received;        ///< [n, n_heads] sum of probabilities of the next queries
  std::span<const float> received_sq;     ///< [n, n_kv_heads]
  std::span<const float> received_max;    ///< [n, n_kv_heads]
  std::span<const float> received_below;  ///< [n] mean over KV heads of ln(received) in the layer below
  std::span<const float> k_norm2;         ///< [n, n_kv_heads] |k - centre|^2, and of V:
  std::span<const float> v_norm2;         ///< the same
  std::span<const float> k;               ///< [n, n_kv_heads, head_dim] before RoPE (unturned_keys.h)
  std::span<const float> v;               ///< the same shape
};

/// Whether SignalSet knows a signal of this name, and the names that it knows, for messages.
bool is_signal(std::string_view name);
std::string signal_names();

/// An ordered choice of signals, by name, each one or several columns per (token, KV head); ln(x) is
/// ln(max(x, 1e-10)):
///   received received_sq received_max   ln of what the vector's token received (mean over the group)
///   received_heads                      ln of what it received from each query head of the group [group]
///   received_layer received_below       mean over the KV heads of this layer, and of the layer below
///   k_norm2 v_norm2                     ln |x - centre|^2
///   position                            ln(position + 1)
///   k v                                 the vectors themselves, the key before RoPE [head_dim]
///   k_pairs                             energies of the pairs that RoPE turns, k[2i]^2 + k[2i+1]^2
///                                       [head_dim / 2]
class SignalSet {
 public:
  /// Throws Error that names an unknown signal.
  SignalSet(std::vector<std::string> names, std::size_t group, std::size_t head_dim);

  const std::vector<std::string>& names() const { return names_; }
  std::size_t columns() const { return columns_; }
  bool wants(std::string_view name) const;
  /// Whether any signal reads the received attention, the norms, or the vectors.
  bool wants_received() const;
  bool wants_norms() const;
  bool wants_vectors() const;
  /// out [n, n_kv_heads, columns()].
  void compute(const SignalSource& source, std::span<float> out) const;

 private:
  std::vector<std::string> names_;
  std::size_t columns_ = 0;
};

/// out [n]: mean over KV heads of ln(received), which is the signal received_below of the layer above. In the
/// lowest layer it stands for itself.
void mean_log_received(const SignalSource& source, std::span<float> out);

}  // namespace miser::policy
