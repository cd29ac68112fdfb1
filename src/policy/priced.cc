#include "policy/priced.h"

#include <algorithm>
#include <utility>

namespace miser::policy {

Priced::Priced(std::shared_ptr<const Plan> plan, float budget, std::optional<float> log_price,
               std::string name)
    : plan_(std::move(plan)),
      name_(std::move(name)),
      fallback_(plan_, budget, name_),
      initial_(*plan_, budget, log_price),
      price_(initial_) {}

void Priced::choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) {
  price_.advance(block.read_from);
  const std::size_t n_kv_heads = block.n_kv_heads;
  ratings_.resize(2 * block.n_tokens * n_kv_heads);
  rate(block, ratings_);
  const bool priced = price_.log_price().has_value();
  for (std::size_t side = 0; side < 2; ++side) {
    std::vector<kv::Width>& out = side == 0 ? widths.k : widths.v;
    for (std::size_t i = 0; i < block.n_tokens; ++i) {
      for (std::size_t head = 0; head < n_kv_heads; ++head) {
        const float rating = ratings_[(side * block.n_tokens + i) * n_kv_heads + head];
        const kv::Width width = priced ? price_.choose(side, rating)
                                       : fallback_.width(side, block.layer, head, block.first_position + i);
        out[head * block.n_tokens + i] = width;
        price_.count(side, rating, width);
      }
    }
  }
}

kv::Width Priced::widest() const {
  return *std::max_element(plan_->ladder.begin(), plan_->ladder.end());
}

void Priced::clear() {
  price_ = initial_;
}

void Priced::copy_state(const Policy& other) {
  price_ = dynamic_cast<const Priced&>(other).price_;
}

}  // namespace miser::policy
