#include "policy/replay.h"

namespace miser::policy {

void Replay::choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) {
  for (std::size_t head = 0; head < block.n_kv_heads; ++head) {
    for (std::size_t i = 0; i < block.n_tokens; ++i) {
      const std::size_t position = block.first_position + i;
      widths.k[head * block.n_tokens + i] = table_->at(0, block.layer, position, head);
      widths.v[head * block.n_tokens + i] = table_->at(1, block.layer, position, head);
    }
  }
}

void NoteWidths::choose(const kv::LeavingBlock& block, kv::BlockWidths& widths) {
  policy_->choose(block, widths);
  for (std::size_t head = 0; head < block.n_kv_heads; ++head) {
    for (std::size_t i = 0; i < block.n_tokens; ++i) {
      const std::size_t position = block.first_position + i;
      table_.at(0, block.layer, position, head) = widths.k[head * block.n_tokens + i];
      table_.at(1, block.layer, position, head) = widths.v[head * block.n_tokens + i];
    }
  }
}

}  // namespace miser::policy
