#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "bus/event.hpp"
#include "bus/internal/event_access.hpp"
#include "bus/received.hpp"

namespace sharingbus::internal {

/// One subscriber's bounded queue with overflow `drop_newest`: a ring of event pointers between the dispatcher
/// (producer side) and one receiver (consumer side), and the gaps that belong between them. The hard capacity is exact.
/// Events move without locks; a loss takes a mutex.
class SubscriberQueue {
 public:
  explicit SubscriberQueue(std::size_t capacity) noexcept : capacity_(capacity) {}
  ~SubscriberQueue() { discard(); }
  SubscriberQueue(const SubscriberQueue&) = delete;
  SubscriberQueue& operator=(const SubscriberQueue&) = delete;

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  /// Producer side. True: the queue took one (already counted) reference. False: full, the loss is recorded.
  bool push(const BusEvent* event) {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    const std::uint64_t depth = tail - head_.load(std::memory_order_acquire);
    if (depth >= capacity_) {
      lose(event->sequence());
      return false;
    }
    if (ring_ == nullptr) {
      mask_ = std::bit_ceil(capacity_) - 1;
      ring_ = std::make_unique<const BusEvent*[]>(mask_ + 1);
    }
    if (gap_open_.load(std::memory_order_relaxed)) settle_gap(tail);
    ring_[tail & mask_] = event;
    if (depth + 1 > high_water_.load(std::memory_order_relaxed)) {
      high_water_.store(depth + 1, std::memory_order_relaxed);
    }
    // Release pairs with the acquire in pop and readable: slot, ring and settled gap are seen with the new tail.
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  /// Producer side: an event that would have come here is lost.
  void lose(std::uint64_t sequence) {
    const std::scoped_lock lock(gap_mutex_);
    if (open_gap_.count == 0) open_gap_.first = sequence;
    open_gap_.last = sequence;
    ++open_gap_.count;
    gap_open_.store(true, std::memory_order_release);
  }

  /// Consumer side: the next event or gap, or nothing. An event's reference passes to the caller.
  Received pop() {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_acquire)) {
      Received gap = take_open_gap(head);
      if (!gap.empty() || head == tail_.load(std::memory_order_acquire)) return gap;
    }
    if (head == next_gap_at_.load(std::memory_order_acquire)) return take_settled_gap();
    EventRef event = EventAccess::adopt(ring_[head & mask_]);
    // Release pairs with push's acquire of head_: the slot was read before it is written again.
    head_.store(head + 1, std::memory_order_release);
    return Received(std::move(event));
  }

  /// Consumer side: whether `pop` would yield something.
  [[nodiscard]] bool readable() const noexcept {
    return head_.load(std::memory_order_relaxed) != tail_.load(std::memory_order_acquire) ||
           gap_open_.load(std::memory_order_acquire);
  }
  [[nodiscard]] std::uint64_t depth() const noexcept {
    const std::uint64_t head = head_.load(std::memory_order_acquire);
    // Both sides move between the two looks, but there are never more than fit.
    return std::min<std::uint64_t>(tail_.load(std::memory_order_acquire) - head, capacity_);
  }
  [[nodiscard]] std::uint64_t high_water() const noexcept { return high_water_.load(std::memory_order_relaxed); }

  /// When neither side is active any more: lets go of what is queued and says how many.
  std::uint64_t discard() noexcept {
    std::uint64_t head = head_.load(std::memory_order_acquire);
    const std::uint64_t tail = tail_.load(std::memory_order_acquire);
    const std::uint64_t count = tail - head;
    for (; head != tail; ++head) EventAccess::release(*ring_[head & mask_]);
    head_.store(head, std::memory_order_release);
    return count;
  }

 private:
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  struct SettledGap {
    std::uint64_t at;
    Gap gap;
  };

  /// An event follows the open gap, so its place is fixed: before ring position `at`.
  void settle_gap(std::uint64_t at) {
    const std::scoped_lock lock(gap_mutex_);
    if (open_gap_.count == 0) return;
    settled_gaps_.push_back({at, open_gap_});
    open_gap_ = {};
    gap_open_.store(false, std::memory_order_relaxed);
    if (settled_gaps_.size() == 1) next_gap_at_.store(at, std::memory_order_release);
  }

  Received take_open_gap(std::uint64_t head) {
    if (!gap_open_.load(std::memory_order_acquire)) return {};
    const std::scoped_lock lock(gap_mutex_);
    // Under the lock, because events may have been queued between the caller's look and the loss.
    if (open_gap_.count == 0 || head != tail_.load(std::memory_order_acquire)) return {};
    const Gap gap = std::exchange(open_gap_, Gap{});
    gap_open_.store(false, std::memory_order_relaxed);
    return Received(gap);
  }

  Received take_settled_gap() {
    const std::scoped_lock lock(gap_mutex_);
    const Gap gap = settled_gaps_.front().gap;
    settled_gaps_.pop_front();
    next_gap_at_.store(settled_gaps_.empty() ? kNone : settled_gaps_.front().at, std::memory_order_release);
    return Received(gap);
  }

  const std::size_t capacity_;
  std::size_t mask_ = 0;
  std::unique_ptr<const BusEvent*[]> ring_;
  alignas(64) std::atomic<std::uint64_t> tail_{0};
  std::atomic<std::uint64_t> high_water_{0};
  std::atomic<bool> gap_open_{false};
  std::atomic<std::uint64_t> next_gap_at_{kNone};
  alignas(64) std::atomic<std::uint64_t> head_{0};
  std::mutex gap_mutex_;
  Gap open_gap_;
  std::deque<SettledGap> settled_gaps_;
};

}  // namespace sharingbus::internal
