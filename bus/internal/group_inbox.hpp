#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <utility>

#include "bus/detail/waiter.hpp"
#include "bus/event.hpp"
#include "bus/internal/event_access.hpp"
#include "bus/internal/event_pool.hpp"
#include "bus/received.hpp"

namespace sharingbus::internal {

class SubscriberState;

/// One member of a callback group, as the bus knows it.
class InboxMember : public detail::Waiter {
 public:
  using Waiter::Waiter;
  /// Set by the state that has an inbox, before anything comes for it.
  SubscriberState* state = nullptr;

 protected:
  ~InboxMember() = default;
};

/// What came for the members of one callback group that get event by event, in the bus's order: one queue instead of
/// one for each, so that an event costs a word and neither a wake-up nor a parked receiver. Between the dispatcher
/// (producer side) and the group's worker (consumer side). Bounded by the capacities of the members, which the
/// dispatcher looks after. A ring of segments as in StreamQueue.
class GroupInbox {
 public:
  class Entry {
   public:
    enum class Kind : std::uint8_t {
      /// With one counted reference.
      event,
      /// A gap at its place.
      gap,
      /// The member has lost something that no event followed yet.
      look,
      /// Nothing comes for this member any more.
      last,
    };
    Entry(std::uintptr_t content, Kind kind, InboxMember& member) noexcept
        : word_(content | static_cast<std::uintptr_t>(kind)), member_(&member) {}

    [[nodiscard]] Kind kind() const noexcept { return static_cast<Kind>(word_ & kKindMask); }
    [[nodiscard]] InboxMember& member() const noexcept { return *member_; }
    [[nodiscard]] const BusEvent& event() const noexcept { return *reinterpret_cast<const BusEvent*>(word_); }
    /// Once.
    Gap take_gap() const noexcept {
      auto* const kept = reinterpret_cast<Gap*>(word_ & ~kKindMask);
      const Gap gap = *kept;
      pool_free(kept);
      return gap;
    }
    /// Instead of taking what is in it.
    void discard() const noexcept {
      if (kind() == Kind::event) {
        EventAccess::release(event());
      } else if (kind() == Kind::gap) {
        take_gap();
      }
    }

   private:
    static constexpr std::uintptr_t kKindMask = 3;
    std::uintptr_t word_;
    InboxMember* member_;
  };

  GroupInbox() noexcept = default;
  GroupInbox(const GroupInbox&) = delete;
  GroupInbox& operator=(const GroupInbox&) = delete;

  // Producer side.

  [[gnu::always_inline]] void push_event(const BusEvent& event, InboxMember& member) {
    push({reinterpret_cast<std::uintptr_t>(&event), Entry::Kind::event, member});
  }
  void push_gap(const Gap& gap, InboxMember& member) {
    auto* const kept = ::new (pool_allocate(sizeof(Gap))) Gap(gap);
    push({reinterpret_cast<std::uintptr_t>(kept), Entry::Kind::gap, member});
  }
  void push_look(InboxMember& member) { push({0, Entry::Kind::look, member}); }
  void push_last(InboxMember& member) { push({0, Entry::Kind::last, member}); }

  /// Shows the consumer what was pushed, and wakes it. After that the inbox may be gone.
  virtual void publish() noexcept = 0;
  /// The dispatcher is to publish it at the end of its turn.
  bool listed = false;

 protected:
  ~GroupInbox() {
    while (!readable().empty()) {
      readable().front().discard();
      taken(1);
    }
    Segment* const first = head_;
    for (Segment* segment = first; segment != nullptr;) {
      Segment* const next = segment->next == first ? nullptr : segment->next;
      ::operator delete(segment);
      segment = next;
    }
  }

  /// seq_cst: whoever shows something and then looks whether the worker is at work, and the worker that says it is not
  /// and then looks whether there is something, cannot both be wrong.
  void show() noexcept { written_.store(pushed_, std::memory_order_seq_cst); }

  // Consumer side.

  [[nodiscard]] std::uint64_t shown() const noexcept { return written_.load(std::memory_order_seq_cst); }
  [[nodiscard]] std::uint64_t read() const noexcept { return read_; }
  /// The next entries, as far as they stand in a row; none: there are none.
  [[nodiscard]] std::span<const Entry> readable() noexcept {
    const std::uint64_t left = written_.load(std::memory_order_acquire) - read_;
    if (left == 0) return {};
    Segment* head = head_.load(std::memory_order_relaxed);
    if (head_next_ == head->size) {
      head = head->next;
      // Release pairs with next_segment: the entries were read before they are written again.
      head_.store(head, std::memory_order_release);
      head_next_ = 0;
    }
    return {head->entries() + head_next_, std::min<std::size_t>(left, head->size - head_next_)};
  }
  void taken(std::size_t count) noexcept {
    head_next_ += static_cast<std::uint32_t>(count);
    read_ += count;
  }

 private:
  /// In a circle: those from the consumer's to the producer's are in use, the others are free.
  struct Segment {
    Segment* next;
    std::uint32_t size;
    [[nodiscard]] Entry* entries() noexcept { return reinterpret_cast<Entry*>(this + 1); }
  };

  [[gnu::always_inline]] void push(const Entry& entry) {
    if (place_ == places_end_) [[unlikely]]
      next_segment();
    ::new (place_++) Entry(entry);
    ++pushed_;
  }

  [[gnu::noinline]] void next_segment() {
    if (tail_ == nullptr || tail_->next == head_.load(std::memory_order_acquire)) {
      add_segment();
    } else {
      tail_ = tail_->next;
    }
    place_ = tail_->entries();
    places_end_ = place_ + tail_->size;
  }

  void add_segment() {
    const std::uint32_t size = tail_ == nullptr ? 3 : std::min<std::uint32_t>(tail_->size * 2 + 1, 511);
    auto* segment = static_cast<Segment*>(::operator new(sizeof(Segment) + size * sizeof(Entry)));
    segment->size = size;
    if (tail_ == nullptr) {
      segment->next = segment;
      head_.store(segment, std::memory_order_relaxed);
    } else {
      segment->next = std::exchange(tail_->next, segment);
    }
    tail_ = segment;
  }

  // The producer's.
  Segment* tail_ = nullptr;
  Entry* place_ = nullptr;
  Entry* places_end_ = nullptr;
  std::uint64_t pushed_ = 0;
  std::atomic<std::uint64_t> written_{0};

  // The consumer's.
  std::uint32_t head_next_ = 0;
  std::atomic<Segment*> head_{nullptr};
  std::uint64_t read_ = 0;
};

}  // namespace sharingbus::internal
