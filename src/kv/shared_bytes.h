#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <span>

#include "kv/counting_resource.h"

namespace miser::kv {

/// Bytes that never change once they are there, in one allocation that all who share them hold together; the
/// last one frees it. The memory comes from the upstream resource of the one that made them, which outlives
/// all. Everybody counts them as its own, so that what one holds does not depend on the others. Different
/// objects that share bytes may be used from different threads.
class SharedBytes {
  /// The header of an allocation; the bytes follow it.
  struct Block {
    std::pmr::memory_resource* memory;
    std::uint32_t size;
    std::atomic<std::uint32_t> holders;
  };

 public:
  static constexpr std::size_t kHeaderBytes = sizeof(Block);

  explicit SharedBytes(CountingResource* counter) : counter_(counter) {}
  /// Shares the bytes of `other`.
  SharedBytes(const SharedBytes& other, CountingResource* counter);
  SharedBytes(const SharedBytes&) = delete;
  SharedBytes& operator=(const SharedBytes&) = delete;
  SharedBytes(SharedBytes&& other) noexcept;
  SharedBytes& operator=(SharedBytes&& other) noexcept;
  ~SharedBytes() { release(); }

  /// Lets go of the bytes, then holds a copy of `bytes`, which are elsewhere: at no moment both are counted.
  void assign(std::span<const std::byte> bytes);

  std::span<const std::byte> get() const { return {begin(), block_ == nullptr ? 0 : block_->size}; }
  /// What is allocated for them: they and their header.
  std::size_t allocated() const { return block_ == nullptr ? 0 : kHeaderBytes + block_->size; }
  /// Whether others hold them too; a moment later this may have changed.
  bool shared() const { return block_ != nullptr && block_->holders.load(std::memory_order_relaxed) > 1; }
  CountingResource* counter() const { return counter_; }

 private:
  const std::byte* begin() const { return reinterpret_cast<const std::byte*>(block_ + 1); }
  void release();

  CountingResource* counter_;
  Block* block_ = nullptr;
};

}  // namespace miser::kv
