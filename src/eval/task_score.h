#pragma once
#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "eval/statistics.h"
#include "eval/task_state.h"

namespace miser::eval {

/// Whether an arm has a question right; which way is the caller's choice of function.
using Hit = bool (*)(const Record&, const ArmRecord&);
bool hit_acc(const Record& record, const ArmRecord& arm);       ///< highest log-likelihood
bool hit_acc_norm(const Record& record, const ArmRecord& arm);  ///< highest log-likelihood a character
bool hit_exact(const Record& record, const ArmRecord& arm);     ///< greedy decoding writes the right ending

/// Share of questions that an arm has right, beside what f16 makes of the same questions.
struct Share {
  std::size_t hits = 0;
  std::size_t n = 0;
  Interval interval;     ///< exact binomial, 95 %
  std::size_t lost = 0;  ///< right under f16 alone
  std::size_t won = 0;   ///< right under this arm alone
  double p = 1;          ///< exact two-sided McNemar
};

/// REQUIRES: not empty, and every record has `arm` and f16.
Share share_of(std::span<const Record> records, const std::string& arm, Hit hit);

/// Mean stored bits per cached element over all endings; an arm's caches are weighted by their tokens.
double bits_per_element(std::span<const Record> records, const std::string& arm);

/// Adds to a row of results: row[name], row["ci95"][name] and row["vs_f16"][name].
void add_share(nlohmann::json& row, const std::string& name, const Share& share);

std::string share_text(const Share& share);       ///< "0.4210 [0.390, 0.452]"
std::string difference_text(const Share& share);  ///< "-12 +9, p 0.664": lost, won, McNemar

}  // namespace miser::eval
