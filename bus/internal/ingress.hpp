#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "bus/event.hpp"
#include "bus/internal/event_access.hpp"

namespace sharingbus::internal {

/// Many publishers → one dispatcher: a bounded ring with a global ticket (D. Vyukov's bounded queue). The ticket is the
/// event's sequence minus 1, so the one order of the bus is fixed where an event enters, and it is the order of
/// happens-before between publishers too. Any thread may push; any thread may pop (the dispatcher, and a publisher
/// that makes room under the manual engine).
class Ingress {
 public:
  /// Room beyond `capacity` for publishing from inside callbacks.
  static constexpr std::size_t kReserve = 128;
  enum class Push : std::uint8_t { done, full, closed };

  explicit Ingress(std::size_t capacity)
      : capacity_(capacity),
        mask_(std::bit_ceil(capacity + kReserve) - 1),
        cells_(std::make_unique<Cell[]>(mask_ + 1)) {
    for (std::size_t i = 0; i <= mask_; ++i) cells_[i].turn.store(i, std::memory_order_relaxed);
  }
  ~Ingress() {
    while (BusEvent* event = pop()) EventAccess::release(*event);
  }
  Ingress(const Ingress&) = delete;
  Ingress& operator=(const Ingress&) = delete;

  /// On `done` the ring owns the event and its sequence is set. `extra`: how far past capacity it may go.
  Push push(BusEvent* event, std::size_t extra, std::uint64_t& sequence) noexcept {
    std::uint64_t ticket = tail_.load(std::memory_order_relaxed);
    for (;;) {
      if ((ticket & kClosed) != 0) return Push::closed;
      // Acquire pairs with pop's exchange of head_: room that is seen is room in the cells, up to the check below.
      const std::uint64_t head = head_.load(std::memory_order_acquire);
      if (head > ticket) {
        // Our look at the tail is so old that its place has been popped already.
        ticket = tail_.load(std::memory_order_acquire);
        continue;
      }
      if (ticket - head >= capacity_ + extra) return Push::full;
      Cell& cell = cells_[ticket & mask_];
      // Acquire pairs with the release in pop: the cell is empty before it is written again.
      const std::uint64_t turn = cell.turn.load(std::memory_order_acquire);
      if (turn == ticket) {
        if (tail_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel, std::memory_order_relaxed)) {
          sequence = ticket + 1;
          EventAccess::set_sequence(*event, sequence);
          cell.event = event;
          // Release pairs with the acquire in pop and ready: the event is complete before it is seen.
          cell.turn.store(ticket + 1, std::memory_order_release);
          return Push::done;
        }
      } else if (turn < ticket) {
        return Push::full;
      } else {
        ticket = tail_.load(std::memory_order_relaxed);
      }
    }
  }

  /// The oldest event, or null when there is none or its publisher has not finished writing it.
  BusEvent* pop() noexcept {
    std::uint64_t position = head_.load(std::memory_order_relaxed);
    for (;;) {
      Cell& cell = cells_[position & mask_];
      const std::uint64_t turn = cell.turn.load(std::memory_order_acquire);
      if (turn < position + 1) return nullptr;
      if (turn == position + 1) {
        if (head_.compare_exchange_weak(position, position + 1, std::memory_order_seq_cst, std::memory_order_relaxed)) {
          BusEvent* event = cell.event;
          cell.turn.store(position + mask_ + 1, std::memory_order_release);
          return event;
        }
      } else {
        position = head_.load(std::memory_order_relaxed);
      }
    }
  }

  /// True when `pop` would yield something.
  [[nodiscard]] bool ready() const noexcept {
    const std::uint64_t position = head_.load(std::memory_order_acquire);
    return cells_[position & mask_].turn.load(std::memory_order_acquire) == position + 1;
  }

  /// Every later push is refused; those that hold a ticket still finish.
  void close() noexcept { tail_.fetch_or(kClosed, std::memory_order_acq_rel); }
  [[nodiscard]] bool closed() const noexcept { return (tail_.load(std::memory_order_acquire) & kClosed) != 0; }

  /// Tickets given out.
  [[nodiscard]] std::uint64_t tail() const noexcept { return tail_.load(std::memory_order_acquire) & ~kClosed; }
  /// Tickets popped.
  [[nodiscard]] std::uint64_t head() const noexcept { return head_.load(std::memory_order_acquire); }

  /// Whether the ring was full when `head` was read from it.
  [[nodiscard]] bool full_at(std::uint64_t head, std::size_t extra = 0) const noexcept {
    return tail() - head >= capacity_ + extra;
  }

  /// Blocks while nothing was popped since `head` was read.
  void wait_for_pop(std::uint64_t head) const noexcept { head_.wait(head, std::memory_order_seq_cst); }
  void notify_pop() noexcept { head_.notify_all(); }

 private:
  static constexpr std::uint64_t kClosed = std::uint64_t{1} << 63;
  struct Cell {
    std::atomic<std::uint64_t> turn{0};
    BusEvent* event = nullptr;
  };

  const std::size_t capacity_;
  const std::size_t mask_;
  const std::unique_ptr<Cell[]> cells_;
  alignas(64) std::atomic<std::uint64_t> tail_{0};
  alignas(64) std::atomic<std::uint64_t> head_{0};
};

}  // namespace sharingbus::internal
