#include "eval/task_score.h"

#include <algorithm>
#include <cassert>

#include <fmt/format.h>

namespace miser::eval {
namespace {

std::size_t argmax(std::span<const double> values) {
  return static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace

bool hit_acc(const Record& record, const ArmRecord& arm) {
  return argmax(arm.logprobs) == record.label;
}

bool hit_acc_norm(const Record& record, const ArmRecord& arm) {
  std::vector<double> each(arm.logprobs.size());
  std::transform(arm.logprobs.begin(), arm.logprobs.end(), record.characters.begin(), each.begin(),
                 [](double logprob, std::size_t n) { return logprob / static_cast<double>(n); });
  return argmax(each) == record.label;
}

bool hit_exact(const Record& /*record*/, const ArmRecord& arm) {
  return arm.exact;
}

Share share_of(std::span<const Record> records, const std::string& arm, Hit hit) {
  assert(!records.empty());
  Share share;
  share.n = records.size();
  for (const Record& record : records) {
    const bool here = hit(record, record.arms.at(arm));
    const bool f16 = hit(record, record.arms.at("f16"));
    share.hits += here ? 1 : 0;
    share.lost += f16 && !here ? 1 : 0;
    share.won += here && !f16 ? 1 : 0;
  }
  share.interval = binomial_interval(share.hits, share.n);
  share.p = mcnemar_p(share.lost, share.won);
  return share;
}

double bits_per_element(std::span<const Record> records, const std::string& arm) {
  double bytes = 0;
  double bytes_f16 = 0;
  for (const Record& record : records) {
    bytes += static_cast<double>(record.arms.at(arm).bytes);
    bytes_f16 += static_cast<double>(record.bytes_f16);
  }
  return bytes_f16 == 0 ? 0 : 16 * bytes / bytes_f16;
}

void add_share(nlohmann::json& row, const std::string& name, const Share& share) {
  row[name] = static_cast<double>(share.hits) / static_cast<double>(share.n);
  row["ci95"][name] = {share.interval.low, share.interval.high};
  row["vs_f16"][name] = {{"lost", share.lost}, {"won", share.won}, {"mcnemar_p", share.p}};
}

std::string share_text(const Share& share) {
  const double mean = static_cast<double>(share.hits) / static_cast<double>(share.n);
  return fmt::format("{:.4f} [{:.3f}, {:.3f}]", mean, share.interval.low, share.interval.high);
}

std::string difference_text(const Share& share) {
  return fmt::format("-{} +{}, p {:.3f}", share.lost, share.won, share.p);
}

}  // namespace miser::eval
