#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <span>
#include <string>

#include "bus/filter.hpp"
#include "bus/fwd.hpp"
#include "bus/received.hpp"

namespace sharingbus {

namespace internal {
class BusCore;
class SubscriberState;
}  // namespace internal

/// Unique for the life of the process; never reused.
using SubscriptionId = std::uint64_t;

/// What happens to an event that finds the subscriber's queue full.
enum class Overflow : std::uint8_t {
  /// The new event is dropped for this subscriber alone, counted as `lagged`, and reported in band as a `Gap`.
  drop_newest,
};

/// What an inline subscription does after its callback threw.
enum class OnThrow : std::uint8_t { keep, close };

struct SubscriptionOptions {
  /// 64 Mi events, 512 MiB of places.
  static constexpr std::size_t kCapacityMax = std::size_t{1} << 26;

  /// For snapshots and logs; empty: `subscription-<id>`.
  std::string name{};
  Filter filter = Filter::all();
  /// Events that may wait; hard. 1..kCapacityMax. Memory is taken when the first event arrives: 8 bytes a place, rounded
  /// up to a power of two. Ignored by inline subscriptions, which have no queue.
  std::size_t capacity = 256;
  Overflow overflow = Overflow::drop_newest;
  OnThrow on_throw = OnThrow::keep;
};

/// One consistent picture of a subscription at a quiet moment, when
/// matched = received + lagged + discarded + queued. While events flow each figure is exact, but of its own instant.
struct SubscriptionStats {
  SubscriptionId id = 0;
  std::string name;
  std::string filter;
  /// 0: inline, no queue.
  std::size_t capacity = 0;
  /// Events that matched the filter while the subscription was open.
  std::uint64_t matched = 0;
  /// Events handed to the receiver or callback.
  std::uint64_t received = 0;
  /// Events lost to a full queue, or at a full ingress where this subscription would have matched.
  std::uint64_t lagged = 0;
  /// Events that were queued when the receiver was let go.
  std::uint64_t discarded = 0;
  std::uint64_t queued = 0;
  /// The most that were ever queued.
  std::uint64_t high_water = 0;
  /// Exceptions that left the callback.
  std::uint64_t callback_failures = 0;
  /// Sequence of the last event received; 0: none yet.
  std::uint64_t last_received_sequence = 0;
  bool closed = false;

  [[nodiscard]] bool balanced() const noexcept { return matched == received + lagged + discarded + queued; }
};

/// The receiving end of a subscription; letting it go unsubscribes. Move-only. Consumer-side: one thread receives at a
/// time; `id`, `stats` and `unsubscribe` may be called from any thread. May outlive the bus: it then yields `Closed`.
class Subscription {
 public:
  Subscription() noexcept = default;
  Subscription(Subscription&&) noexcept = default;
  Subscription& operator=(Subscription&& other) noexcept;
  /// Marks the subscription closed and wakes nobody; the dispatcher collects it at its next event. For an inline
  /// subscription: afterwards the callback does not run and will not run; called from inside its own callback it does
  /// not wait.
  ~Subscription();

  explicit operator bool() const noexcept { return state_ != nullptr; }
  [[nodiscard]] SubscriptionId id() const noexcept;
  [[nodiscard]] SubscriptionStats stats() const;

  /// Never waits. Yields what is next in order: an event, a gap at its place, `Closed` after everything queued was
  /// read (again and again), or nothing.
  [[nodiscard]] Received try_receive();
  /// Waits up to `timeout` of real time; nothing when it passed.
  [[nodiscard]] Received receive_for(std::chrono::nanoseconds timeout);
  /// Waits without limit: until there is an event, a gap or the end.
  [[nodiscard]] Received receive();
  /// Fills `out` from the front with what is there, never waits. Returns how many; `Closed` is always the last.
  std::size_t receive_batch(std::span<Received> out);
  /// Calls `wake` once, as soon as something can be received: from the dispatching thread, outside locks, so it must
  /// be short and not throw. Returns false, without keeping `wake`, when something is there already. The building block
  /// of the asynchronous forms in bus/async.hpp. Replaces an earlier, unfired `wake`. It may rarely be early: look, and
  /// when nothing is there ask again.
  bool notify_when_ready(std::function<void()> wake);
  /// Forgets an unfired `wake`; true when there was one.
  bool cancel_notify();

  /// Ends the subscription in the bus's order: what was queued can still be read, then `Closed`. Idempotent.
  void unsubscribe();

  /// Range-for over events until the end of stream, waiting for each; gaps are skipped (see `stats().lagged`).
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = EventRef;
    using difference_type = std::ptrdiff_t;
    using pointer = const EventRef*;
    using reference = const EventRef&;
    Iterator() = default;
    reference operator*() const noexcept { return current_; }
    pointer operator->() const noexcept { return &current_; }
    Iterator& operator++();
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const noexcept { return subscription_ == nullptr; }

   private:
    friend class Subscription;
    explicit Iterator(Subscription* subscription) : subscription_(subscription) { ++*this; }
    Subscription* subscription_ = nullptr;
    EventRef current_;
  };
  [[nodiscard]] Iterator begin() { return Iterator(this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  friend class SharingBus;
  Subscription(std::shared_ptr<internal::BusCore> core, std::shared_ptr<internal::SubscriberState> state) noexcept;
  void let_go() noexcept;

  std::shared_ptr<internal::BusCore> core_;
  std::shared_ptr<internal::SubscriberState> state_;
};

}  // namespace sharingbus
