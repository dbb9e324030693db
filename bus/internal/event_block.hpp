#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include "bus/event.hpp"
#include "bus/internal/event_access.hpp"
#include "bus/internal/event_pool.hpp"

namespace sharingbus::internal {

/// The events of one dispatch turn, for all subscribers that get every one of them: it holds one reference to each
/// event, and they share one count for the whole block instead of one count per event.
class EventBlock {
 public:
  /// Takes over one reference to each event.
  static EventBlock* make(std::span<BusEvent* const> events, std::uint32_t holders) {
    void* memory = pool_allocate(sizeof(EventBlock) + events.size() * sizeof(EventRef));
    auto* block = ::new (memory) EventBlock(static_cast<std::uint32_t>(events.size()), holders);
    EventRef* to = block->events();
    for (BusEvent* event : events)
      ::new (to++) EventRef(EventAccess::adopt(event));
    return block;
  }
  EventBlock(const EventBlock&) = delete;
  EventBlock& operator=(const EventBlock&) = delete;

  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
  [[nodiscard]] EventRef* events() const noexcept {
    return reinterpret_cast<EventRef*>(reinterpret_cast<std::byte*>(const_cast<EventBlock*>(this)) +
                                       sizeof(EventBlock));
  }
  /// `holders` let go; the last one lets go of the events.
  void release(std::uint32_t holders = 1) const noexcept {
    if (holders_.load(std::memory_order_acquire) != holders &&
        holders_.fetch_sub(holders, std::memory_order_acq_rel) != holders) {
      return;
    }
    // From the back: what was received last is in the nearest cache, and what is freed last is made again first.
    for (std::uint32_t i = size_; i-- > 0;)
      EventAccess::release(*events()[i]);
    auto* self = const_cast<EventBlock*>(this);
    self->~EventBlock();
    pool_free(self);
  }

 private:
  EventBlock(std::uint32_t size, std::uint32_t holders) noexcept : holders_(holders), size_(size) {}
  ~EventBlock() = default;

  mutable std::atomic<std::uint32_t> holders_;
  const std::uint32_t size_;
};
static_assert(sizeof(EventBlock) == 8 && alignof(EventRef) == 8);

}  // namespace sharingbus::internal
