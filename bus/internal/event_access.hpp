#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "bus/event.hpp"
#include "bus/received.hpp"

namespace sharingbus {

/// What the dispatcher and the queues may do with an event that nobody else may: they count references in bulk.
struct EventAccess {
  static BusEvent* take(EventDraft& draft) noexcept { return draft.give_up(); }
  static EventDraft draft_of(BusEvent* event) noexcept { return EventDraft(event); }
  static BusEvent* peek(const EventDraft& draft) noexcept { return draft.event_; }
  static void set_sequence(BusEvent& event, std::uint64_t sequence) noexcept { event.sequence_ = sequence; }
  static void set_published_at(BusEvent& event, TimePoint at) noexcept { event.published_at_ = at; }
  /// The dispatcher is the only holder when it calls this, so no read-modify-write is needed.
  static void set_references(const BusEvent& event, std::uint32_t count) noexcept {
    event.references_.store(count, std::memory_order_relaxed);
  }
  static void retain(const BusEvent& event) noexcept { event.references_.fetch_add(1, std::memory_order_relaxed); }
  static void release(const BusEvent& event, std::uint32_t count = 1) noexcept { event.release(count); }
  /// As `release`, while the caller holds all references.
  static void release_private(const BusEvent& event) noexcept {
    const std::uint32_t left = event.references_.load(std::memory_order_relaxed) - 1;
    if (left == 0) return event.destroy();
    event.references_.store(left, std::memory_order_relaxed);
  }
  /// Takes over a reference that was counted already.
  static EventRef adopt(const BusEvent* event) noexcept {
    EventRef ref;
    ref.event_ = event;
    return ref;
  }
  /// Lends without counting; `forget` must follow before the reference ends.
  static void forget(EventRef& ref) noexcept { ref.event_ = nullptr; }
  /// Undoes the lending of a `Received` that was made of an adopted event.
  static void forget(Received& received) noexcept {
    if (auto* ref = std::get_if<EventRef>(&received.value_)) forget(*ref);
  }
};

}  // namespace sharingbus
