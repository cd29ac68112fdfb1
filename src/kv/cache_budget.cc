// The part of Cache that keeps to a budget.
#include <algorithm>
#include <utility>
#include <vector>

#include "base/divide_up.h"
#include "kv/cache.h"

namespace miser::kv {
namespace {

/// Changes of segments, made by all threads once they are known.
class Changes {
 public:
  void keep(Segment& segment, const Side& side, std::size_t first, std::vector<Width> widths) {
    changes_.push_back({&segment, side, first, std::move(widths)});
  }
  void apply(nn::ThreadPool& pool) {
    pool.parallel_for(changes_.size(), [&](std::size_t i, int) {
      changes_[i].segment->keep(changes_[i].first, changes_[i].widths, changes_[i].side);
    });
  }

 private:
  struct Change {
    Segment* segment;
    Side side;
    std::size_t first;
    std::vector<Width> widths;
  };
  std::vector<Change> changes_;
};

}  // namespace

std::size_t Cache::admit(std::size_t n, nn::ThreadPool& pool) {
  if (!budget_) return n;
  const std::size_t period = budget_->period();
  const std::size_t now = size();
  if (now % period == 0) make_room(pool);
  const std::size_t until_decision = period - now % period;
  if (n <= until_decision) return n;
  // Where all fits into what is left up to the next decision behind them, none of those before has to decide.
  const std::size_t decision = divide_up(now + n, period) * period;
  return budget_->cap() == budget_->usual_cap() && fits(decision) ? n : until_decision;
}

void Cache::limit(BlockWidths& widths) const {
  if (budget_) budget_->limit(widths);
}

std::size_t Cache::needed(std::size_t end) const {
  const LayerCache& first = layers_.front();
  return bytes() + budget_->growth(first.staged_begin, first.heads.front().k.size(), end, budget_->cap());
}

void Cache::make_room(nn::ThreadPool& pool) {
  const std::size_t end = size() + budget_->period();
  budget_->set_cap(budget_->usual_cap());
  if (fits(end)) return;
  demote(needed(end) - config_.memory + budget_->slack(), pool);
  while (!fits(end) && budget_->steps().next(budget_->cap()))
    budget_->set_cap(budget_->steps().next(budget_->cap())->to);
  while (config_.drop_oldest && !fits(end) && first_kept_ < layers_.front().staged_begin)
    drop_oldest(needed(end) - config_.memory + budget_->slack(), pool);
}

/// f(segment, layer, side) for all segments, those of the oldest tokens first.
template <typename F>
void Cache::for_each_segment(F&& f) {
  const std::size_t n = layers_.front().heads.front().k.size();
  for (std::size_t s = 0; s < n; ++s) {
    for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
      for (std::size_t g = 0; g < config_.n_kv_heads; ++g) {
        f(layers_[layer].heads[g].k[s], key_side(layer, g), s);
        f(layers_[layer].heads[g].v[s], value_side(layer, g), s);
      }
    }
  }
}

void Cache::demote(std::size_t wanted, nn::ThreadPool& pool) {
  DemotionPlan plan(budget_->steps());
  for_each_segment([&](const Segment& segment, const Side&, std::size_t) {
    for (std::size_t t = 0; t < segment.size(); ++t) plan.count(segment.width(t), segment.rating(t));
  });
  plan.solve(wanted);
  Changes changes;
  for_each_segment([&](Segment& segment, const Side& side, std::size_t) {
    std::vector<Width> widths(segment.size());
    bool changed = false;
    for (std::size_t t = 0; t < segment.size(); ++t) {
      widths[t] = plan.take(segment.width(t), segment.rating(t));
      changed = changed || widths[t] != segment.width(t);
    }
    if (changed) changes.keep(segment, side, 0, std::move(widths));
  });
  changes.apply(pool);
  budget_->raise_price(plan.log_price());
}

/// Drops whole periods of the oldest packed tokens, as many as release `wanted` bytes or all.
void Cache::drop_oldest(std::size_t wanted, nn::ThreadPool& pool) {
  const std::size_t of_token =
      2 * config_.n_layers * config_.n_kv_heads * budget_->steps().stored_bytes(Width::k1);
  const std::size_t period = budget_->period();
  const std::size_t n = (wanted / of_token / period + 1) * period;
  drop_before(std::min((first_kept() + n) / period * period, layers_.front().staged_begin), pool);
}

/// Drops the packed tokens before this position. REQUIRES: none of them is staged.
void Cache::drop_before(std::size_t first_kept_now, nn::ThreadPool& pool) {
  const std::size_t old = first_kept();
  first_kept_ = first_kept_now;
  Changes changes;
  for_each_segment([&](Segment& segment, const Side& side, std::size_t index) {
    const std::size_t begin = std::max(index * Segment::kMaxTokens, old);
    if (begin >= first_kept_ || segment.size() == 0) return;
    const std::size_t first = std::min(first_kept_ - begin, segment.size());
    std::vector<Width> widths(segment.size() - first);
    for (std::size_t t = 0; t < widths.size(); ++t) widths[t] = segment.width(first + t);
    changes.keep(segment, side, first, std::move(widths));
  });
  changes.apply(pool);
}

}  // namespace miser::kv
