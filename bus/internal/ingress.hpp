#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "bus/event.hpp"
#include "bus/internal/event_access.hpp"

namespace sharingbus::internal {

/// Many publishers → one dispatcher: a bounded ring with a global ticket (D. Vyukov's bounded queue). The ticket is the
/// event's sequence minus 1, so the one order of the bus is fixed where an event enters, and it is the order of
/// happens-before between publishers too. Any thread may push; any thread may pop (the dispatcher, and a publisher
/// that makes room under the manual engine).
///
/// Drawing a ticket and moving the head are sequentially consistent: a publisher that drew one and then finds no
/// dispatcher resting, and a dispatcher that goes to rest and then finds no ticket drawn, cannot both be wrong.
class Ingress {
 public:
  /// Room beyond `capacity` for publishing from inside callbacks.
  static constexpr std::size_t kReserve = 128;
  static constexpr std::uint64_t kUnlimited = ~std::uint64_t{0};
  enum class Push : std::uint8_t { done, full, closed };

  Ingress(std::size_t capacity, std::size_t capacity_bytes)
      : capacity_(capacity),
        capacity_at_once_(capacity_bytes == 0 ? capacity : 0),
        capacity_bytes_(capacity_bytes),
        mask_(std::bit_ceil(capacity + kReserve) - 1),
        cells_(std::make_unique<Cell[]>(mask_ + 1)) {
    for (std::size_t i = 0; i <= mask_; ++i)
      cells_[i].turn.store(i, std::memory_order_relaxed);
  }
  ~Ingress() {
    while (BusEvent* event = pop())
      EventAccess::release(*event);
  }
  Ingress(const Ingress&) = delete;
  Ingress& operator=(const Ingress&) = delete;

  /// The first ticket that may not be given out.
  using Limit = std::atomic<std::uint64_t>;
  /// On `done` the ring owns the event and its sequence is set. `extra`: how far past capacity it may go; `until` may
  /// be null.
  Push push(BusEvent* event, std::size_t extra, const Limit* until, std::uint64_t& sequence) noexcept {
    const std::size_t bytes = capacity_bytes_ != 0 ? event->size_bytes() : 0;
    std::uint64_t ticket = 0;
    if (bytes == 0 || reserve_bytes(bytes, extra != 0)) {
      if (draw(1, extra, until, ticket) != 0) {
        write(ticket, event);
        sequence = ticket + 1;
        return Push::done;
      }
      // seq_cst with the next look at who waits, as are those who wait and then look.
      if (bytes != 0) bytes_.fetch_sub(bytes, std::memory_order_seq_cst);
    }
    return closed() ? Push::closed : Push::full;
  }

  /// What `push` does when there is room and nobody is in the way: nearly always. The sequence; 0: nothing happened.
  [[nodiscard]] std::uint64_t push_at_once(BusEvent* event) noexcept {
    std::uint64_t ticket = tail_.load(std::memory_order_relaxed);
    // As in `draw`. A closed tail, and one that has been popped already, are far ahead.
    if (ticket - head_.load(std::memory_order_acquire) >= capacity_at_once_) return 0;
    Cell& cell = cells_[ticket & mask_];
    if (cell.turn.load(std::memory_order_acquire) != ticket) return 0;
    __builtin_prefetch(&cell + kAhead, 1);
    const std::uint64_t next = ticket + 1;
    if (!tail_.compare_exchange_strong(ticket, next, std::memory_order_seq_cst, std::memory_order_relaxed)) return 0;
    write(cell, next, event);
    return next;
  }

  /// Pushes from the front as many as there is room for, under consecutive tickets; 0 when full or closed. Not for a
  /// bus with a bound in bytes.
  std::size_t push_many(std::span<BusEvent* const> events, std::uint64_t& first_sequence) noexcept {
    std::uint64_t ticket = 0;
    const std::size_t count = draw(events.size(), 0, nullptr, ticket);
    for (std::size_t i = 0; i < count; ++i)
      write(ticket + i, events[i]);
    first_sequence = ticket + 1;
    return count;
  }
  [[nodiscard]] bool bounded_in_bytes() const noexcept { return capacity_bytes_ != 0; }

  /// The oldest event, or null when there is none or its publisher has not finished writing it.
  BusEvent* pop() noexcept {
    BusEvent* event = nullptr;
    return pop_many(std::span(&event, 1)) == 1 ? event : nullptr;
  }

  /// Fills `out` from the front with the oldest events that are completely written.
  std::size_t pop_many(std::span<BusEvent*> out) noexcept {
    Cell* const cells = cells_.get();
    const std::size_t mask = mask_;
    std::uint64_t head = head_.load(std::memory_order_relaxed);
    for (;;) {
      std::size_t count = 0;
      while (count < out.size()) {
        // As far as they stand in a row.
        const Cell* cell = cells + ((head + count) & mask);
        const std::size_t row = std::min<std::size_t>(out.size() - count, cells + mask + 1 - cell);
        const std::size_t before = count;
        for (; count < before + row && cell->turn.load(std::memory_order_acquire) == head + count + 1; ++count, ++cell)
          out[count] = cell->event.load(std::memory_order_relaxed);
        if (count < before + row) break;
      }
      if (count == 0) {
        const std::uint64_t now = head_.load(std::memory_order_relaxed);
        if (now == head) return 0;
        head = now;
        continue;
      }
      // Another popper may have been faster; then what was read above is his.
      if (!head_.compare_exchange_strong(head, head + count, std::memory_order_seq_cst, std::memory_order_relaxed))
        continue;
      for (std::size_t i = 0; i < count;) {
        Cell* cell = cells + ((head + i) & mask);
        const std::size_t end = std::min<std::size_t>(count, i + (cells + mask + 1 - cell));
        for (; i < end; ++i, ++cell)
          cell->turn.store(head + i + mask + 1, std::memory_order_release);
      }
      if (capacity_bytes_ != 0) {
        for (std::size_t i = 0; i < count; ++i)
          bytes_.fetch_sub(out[i]->size_bytes(), std::memory_order_relaxed);
      }
      return count;
    }
  }

  /// True when `pop` would yield something.
  [[nodiscard]] bool ready() const noexcept {
    const std::uint64_t position = head_.load(std::memory_order_acquire);
    return cells_[position & mask_].turn.load(std::memory_order_acquire) == position + 1;
  }
  /// True when a ticket was drawn that is not popped yet, even if its event is still being written.
  [[nodiscard]] bool pending() const noexcept {
    return (tail_.load(std::memory_order_seq_cst) & ~kClosed) != head_.load(std::memory_order_seq_cst);
  }

  /// Every later push is refused; those that hold a ticket still finish.
  void close() noexcept { tail_.fetch_or(kClosed, std::memory_order_seq_cst); }
  [[nodiscard]] bool closed() const noexcept { return (tail_.load(std::memory_order_acquire) & kClosed) != 0; }

  /// Tickets given out.
  [[nodiscard]] std::uint64_t tail() const noexcept { return tail_.load(std::memory_order_seq_cst) & ~kClosed; }
  /// Tickets popped.
  [[nodiscard]] std::uint64_t head() const noexcept { return head_.load(std::memory_order_acquire); }

  /// Whether the ring was full for an event of `bytes` when `head` was read from it. Never when it is empty: bytes are
  /// given back after the pop, and a ring that has nothing to pop will tell nobody.
  [[nodiscard]] bool full_at(std::uint64_t head, std::size_t bytes, std::size_t extra = 0) const noexcept {
    const std::uint64_t depth = tail() - head;
    return depth >= capacity_ + extra ||
           (extra == 0 && depth != 0 && !fits(bytes_.load(std::memory_order_relaxed), bytes));
  }
  /// In one order with the pops.
  [[nodiscard]] bool full_now(std::size_t bytes) const noexcept {
    return full_at(head_.load(std::memory_order_seq_cst), bytes);
  }

 private:
  /// Two cache lines of cells.
  static constexpr std::uint64_t kAhead = 8;
  static constexpr std::uint64_t kClosed = std::uint64_t{1} << 63;
  struct Cell {
    std::atomic<std::uint64_t> turn{0};
    // Atomic only because a slower popper may read it while it is written again; he then discards what he read.
    std::atomic<BusEvent*> event{nullptr};
  };

  /// Takes up to `wanted` tickets in a row and returns how many; 0: full or closed.
  std::size_t draw(std::size_t wanted, std::size_t extra, const Limit* until, std::uint64_t& first) noexcept {
    std::uint64_t ticket = tail_.load(std::memory_order_seq_cst);
    for (;;) {
      // After the tail, in one order: of whoever lowers it and then looks at the tail, one ticket at most goes
      // unheeded, the next one. No queue is too small for that.
      const std::uint64_t end = until != nullptr ? until->load(std::memory_order_seq_cst) : kUnlimited;
      if ((ticket & kClosed) != 0 || ticket >= end) return 0;
      // Acquire pairs with pop's exchange of head_: room that is seen is room in the cells, up to the check below.
      const std::uint64_t head = head_.load(std::memory_order_acquire);
      if (head > ticket) {
        // Our look at the tail is so old that its place has been popped already.
        ticket = tail_.load(std::memory_order_seq_cst);
        continue;
      }
      if (ticket - head >= capacity_ + extra) return 0;
      const std::uint64_t room = std::min<std::uint64_t>(capacity_ + extra - (ticket - head), end - ticket);
      const std::size_t limit = std::min<std::uint64_t>(wanted, room);
      std::size_t count = 0;
      // Acquire pairs with the release in pop: the cell is empty before it is written again.
      while (count < limit && cells_[(ticket + count) & mask_].turn.load(std::memory_order_acquire) == ticket + count)
        ++count;
      if (count == 0) {
        const std::uint64_t now = tail_.load(std::memory_order_seq_cst);
        if (now == ticket) return 0;
        ticket = now;
      } else if (tail_.compare_exchange_weak(ticket, ticket + count, std::memory_order_seq_cst)) {
        first = ticket;
        return count;
      }
    }
  }

  void write(std::uint64_t ticket, BusEvent* event) noexcept { write(cells_[ticket & mask_], ticket + 1, event); }
  static void write(Cell& cell, std::uint64_t sequence, BusEvent* event) noexcept {
    EventAccess::set_sequence(*event, sequence);
    cell.event.store(event, std::memory_order_relaxed);
    // Release pairs with the acquire in pop and ready: the event is complete before it is seen.
    cell.turn.store(sequence, std::memory_order_release);
  }

  /// One event always fits, however large.
  [[nodiscard]] bool fits(std::uint64_t held, std::size_t bytes) const noexcept {
    return capacity_bytes_ == 0 || held == 0 || held + bytes <= capacity_bytes_;
  }
  bool reserve_bytes(std::size_t bytes, bool always) noexcept {
    std::uint64_t held = bytes_.load(std::memory_order_seq_cst);
    do {
      if (!always && !fits(held, bytes)) return false;
    } while (!bytes_.compare_exchange_weak(held, held + bytes, std::memory_order_seq_cst));
    return true;
  }

  const std::size_t capacity_;
  /// 0: events are to be weighed first.
  const std::size_t capacity_at_once_;
  const std::size_t capacity_bytes_;
  const std::size_t mask_;
  const std::unique_ptr<Cell[]> cells_;
  alignas(64) std::atomic<std::uint64_t> tail_{0};
  std::atomic<std::uint64_t> bytes_{0};
  alignas(64) std::atomic<std::uint64_t> head_{0};
};

}  // namespace sharingbus::internal
