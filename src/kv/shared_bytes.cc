#include "kv/shared_bytes.h"

#include <algorithm>
#include <new>
#include <utility>

namespace miser::kv {

SharedBytes::SharedBytes(const SharedBytes& other, CountingResource* counter)
    : counter_(counter), block_(other.block_) {
  if (block_ == nullptr) return;
  block_->holders.fetch_add(1, std::memory_order_relaxed);
  counter_->count(allocated());
}

SharedBytes::SharedBytes(SharedBytes&& other) noexcept
    : counter_(other.counter_), block_(std::exchange(other.block_, nullptr)) {}

SharedBytes& SharedBytes::operator=(SharedBytes&& other) noexcept {
  if (this == &other) return *this;
  release();
  counter_ = other.counter_;
  block_ = std::exchange(other.block_, nullptr);
  return *this;
}

void SharedBytes::assign(std::span<const std::byte> bytes) {
  release();
  if (bytes.empty()) return;
  std::pmr::memory_resource* const memory = counter_->upstream();
  void* const place = memory->allocate(kHeaderBytes + bytes.size(), alignof(Block));
  block_ = new (place) Block{memory, static_cast<std::uint32_t>(bytes.size()), 1};
  std::ranges::copy(bytes, static_cast<std::byte*>(place) + kHeaderBytes);
  counter_->count(allocated());
}

void SharedBytes::release() {
  if (block_ == nullptr) return;
  counter_->discount(allocated());
  Block* const block = std::exchange(block_, nullptr);
  // The last holder sees all that the others did with the bytes before it frees them.
  if (block->holders.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  block->memory->deallocate(block, kHeaderBytes + block->size, alignof(Block));
}

}  // namespace miser::kv
