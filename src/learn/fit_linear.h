#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/divide_up.h"
#include "learn/decision_loss.h"

namespace miser::learn {

/// Signals of the vectors of one layer and KV head. Rows are padded with zeros to whole groups of kLanes
/// floats, so that loops over them have no rest.
struct SignalRows {
  static constexpr std::size_t kLanes = 8;

  explicit SignalRows(std::size_t n_columns)
      : columns(n_columns), stride(divide_up(n_columns, kLanes) * kLanes) {}
  std::size_t size() const { return values.size() / stride; }
  std::span<const float> row(std::size_t i) const { return std::span(values).subspan(i * stride, stride); }
  /// Appends a row of `columns` floats.
  void add(std::span<const float> row);

  std::size_t columns;
  std::size_t stride;
  std::vector<float> values;  ///< [n, stride]
};

/// What brings signals to one scale: x -> clip((x - mean) / deviation, -6, 6).
struct Standardiser {
  std::vector<float> mean;       ///< [columns]
  std::vector<float> deviation;  ///< the same, above zero

  static Standardiser of(const SignalRows& rows);
  void apply(SignalRows& rows) const;
};

/// f(x) = bias + weights . x, with x standardised.
struct LinearFit {
  float bias = 0;
  std::vector<float> weights;  ///< [stride], zero in the padding

  float predict(std::span<const float> row) const;
};

/// Ridge regression of ln s with the penalty `ridge` |weights|^2 on sums over the samples. Labels below their
/// 2 % quantile are lifted to it. The bias is shifted so that the mean of exp(f) is the mean of exp(label):
/// prices need the mean of s, not the exponential of the mean of ln s. REQUIRES: rows.size() == log_s.size()
/// > 0.
LinearFit fit_ridge(const SignalRows& rows, std::span<const float> log_s, double ridge);

struct DecisionOptions {
  std::size_t epochs = 12;
  std::size_t batch = 64;
  double rate = 1e-2;         ///< of Adam, falling to a twentieth of it
  double gamma_share = 0.3;   ///< of the steps that come first and fit the gamma deviance
  double penalty = 1e-4;      ///< of |weights|^2
  double temperature = 0.25;  ///< of the choice, in bits
  std::uint64_t seed = 1;
};

/// Goes on from `start` to the weights of least mean DecisionLoss, by Adam (Kingma & Ba 2015) on shuffled
/// samples; what is returned is the mean of the weights over the last quarter of the steps.
LinearFit fit_decision(const SignalRows& rows, std::span<const float> log_s, const DecisionLoss& loss,
                       const LinearFit& start, const DecisionOptions& options);

}  // namespace miser::learn
