#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "eval/bandwidth.h"
#include "eval/machine.h"
#include "eval/speed.h"

namespace miser::cli {

/// What `miser bench` found.
struct BenchResult {
  std::string model;
  std::size_t model_bytes = 0;      ///< of all tensors
  std::size_t model_params = 0;     ///< elements of all tensors
  std::size_t bytes_per_token = 0;  ///< weights read to decode one token
  int threads = 0;
  std::size_t n_prompt = 0;
  std::size_t n_gen = 0;
  eval::Bandwidth memory;   ///< a buffer that no cache holds
  eval::Bandwidth weights;  ///< a buffer as large as the weights of one token
  eval::Machine machine;
  std::vector<eval::SpeedRow> rows;

  /// The faster of the two bandwidths, so that a share of the roofline is never flattered.
  double roofline_gb_per_s() const;
  /// Weights and cache read per decoded token.
  double bytes_read(const eval::SpeedRow& row) const;
};

/// `format` is md, csv, json or jsonl. REQUIRES: one of them.
std::string format_bench(const BenchResult& result, std::string_view format);

}  // namespace miser::cli
