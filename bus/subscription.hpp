#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "bus/filter.hpp"
#include "bus/fwd.hpp"
#include "bus/received.hpp"

namespace sharingbus {

namespace detail {
class Waiter;
}
namespace internal {
class BusCore;
class SubscriberState;
}  // namespace internal

/// Unique for the life of the process; never reused.
using SubscriptionId = std::uint64_t;

/// What happens when an event finds the subscriber's queue full. Whatever is lost counts as `lagged`, is reported in
/// band as a `Gap` at its place, and concerns this subscriber alone.
enum class Overflow : std::uint8_t {
  /// The new event is dropped.
  drop_newest,
  /// The oldest queued event gives way.
  drop_oldest,
  /// A new event replaces the queued one with the same key (`SubscriptionOptions::key`), also below the capacity; its
  /// place is its own, at the end. When the queue is full of other keys, the oldest gives way.
  latest_per_key,
  /// `async_publish` waits and `try_publish` refuses while this queue could overflow; a plain `publish` goes through
  /// and
  /// its event is dropped here.
  backpressure,
  /// The event is dropped, and the subscription ends with `CloseReason::overflowed` after what was queued.
  close_subscriber,
};
[[nodiscard]] std::string_view to_string(Overflow overflow) noexcept;

/// What an inline subscription does after its callback threw.
enum class OnThrow : std::uint8_t { keep, close };

/// How a thread waits when there is nothing to do.
enum class WaitStrategy : std::uint8_t {
  /// Sleeps at once; woken in microseconds, costs nothing.
  block,
  /// Looks for about 20 µs, then sleeps.
  phased,
  /// Looks all the time: the quickest, costs a core.
  spin,
};

/// When a subscriber counts as slow; off unless `lost` or `behind` is set. The bus then publishes `SubscriberLagging`,
/// and `SubscriberRecovered` when its queue was seen at half its capacity or less, not behind, and nothing was lost
/// since the last look. Judged at the end of dispatch turns.
struct SlowPolicy {
  /// Events lost since it last kept up. 0: do not look at losses.
  std::uint64_t lost = 0;
  /// How long what is queued has been waiting. 0: do not look at time.
  Duration behind{0};
  /// End the subscription with `CloseReason::too_slow`.
  bool close = false;

  [[nodiscard]] bool enabled() const noexcept { return lost != 0 || behind > Duration::zero(); }
};

/// Published by the bus about a slow subscriber; never delivered to that subscriber itself.
struct SubscriberLagging {
  static constexpr std::string_view event_name = "subscriber_lagging";
  static constexpr EventKind event_kind = EventKind::system;

  SubscriptionId subscription = 0;
  std::string name;
  std::uint64_t lagged = 0;
  std::uint64_t queued = 0;
  Duration behind{0};
};
struct SubscriberRecovered {
  static constexpr std::string_view event_name = "subscriber_recovered";
  static constexpr EventKind event_kind = EventKind::system;

  SubscriptionId subscription = 0;
  std::string name;
  std::uint64_t lagged = 0;
};

/// Where in the bus's order a subscription starts. What the history (`BusOptions::history_events`) still holds comes
/// before the live events, without gap or duplicate, and as far as the queue has room.
struct Start {
  enum class From : std::uint8_t { live, last, sequence };
  From from = From::live;
  std::uint64_t value = 0;

  /// With what is published from now on.
  [[nodiscard]] static Start live() noexcept { return {}; }
  /// With the last `count` events of the history that match.
  [[nodiscard]] static Start last(std::uint64_t count) noexcept { return {From::last, count}; }
  /// With the event of this sequence. When the history starts later the stream begins with a `Gap` whose count is 0;
  /// a sequence that is not published yet means live.
  [[nodiscard]] static Start sequence(std::uint64_t first) noexcept { return {From::sequence, first}; }
};

struct SubscriptionOptions {
  /// 64 Mi events.
  static constexpr std::size_t kCapacityMax = std::size_t{1} << 26;

  /// For snapshots and logs; empty: `subscription-<id>`.
  std::string name{};
  Filter filter = Filter::all();
  /// Events that may wait; hard. 1..kCapacityMax. Memory grows with what is queued. Ignored by inline subscriptions,
  /// which have no queue.
  std::size_t capacity = 256;
  Overflow overflow = Overflow::drop_newest;
  OnThrow on_throw = OnThrow::keep;
  /// Sum of `BusEvent::size_bytes` that may wait; 0: no bound. An event larger than this is always lost. Not with
  /// `backpressure`, whose credit is counted in events.
  std::size_t capacity_bytes = 0;
  /// Only with `latest_per_key`: events with equal keys replace one another. Called by the dispatcher, must not throw
  /// or block. Empty: type, connector uid, connector id and native session id together.
  std::function<std::string(const BusEvent&)> key{};
  /// Called by the dispatcher for every event this subscription loses, outside all locks; must not block. What it
  /// throws is caught and counted as a callback failure.
  std::function<void(const EventRef&)> on_drop{};
  SlowPolicy slow{};
  Start start{};
  /// How blocking receives wait.
  WaitStrategy wait = WaitStrategy::block;

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// One consistent picture of a subscription at a quiet moment, when
/// matched = received + lagged + discarded + queued. While events flow each figure is exact, but of its own instant.
struct SubscriptionStats {
  SubscriptionId id = 0;
  std::string name;
  std::string filter;
  /// 0: inline, no queue.
  std::size_t capacity = 0;
  Overflow overflow = Overflow::drop_newest;
  /// Events that matched the filter while the subscription was open.
  std::uint64_t matched = 0;
  /// Events handed to the receiver or callback.
  std::uint64_t received = 0;
  /// Events lost to a full queue, or at a full ingress where this subscription would have matched.
  std::uint64_t lagged = 0;
  /// Events that were queued when the receiver was let go.
  std::uint64_t discarded = 0;
  std::uint64_t queued = 0;
  /// Their size; 0 where nothing needs it: without `capacity_bytes`, unless the overflow policy displaces events.
  std::uint64_t queued_bytes = 0;
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
  /// Borrows up to `limit` events (0 is taken as 1) from the queue, never waits: the cheapest way to receive, for
  /// nothing is counted per event. They count as received. See `Lent` for how long they live.
  [[nodiscard]] Lent lend(std::size_t limit = 256);
  /// Calls `wake` once, as soon as something can be received: from the dispatching thread, outside locks, so it must
  /// be short and not throw. Returns false, without keeping `wake`, when something is there already. The building block
  /// of the asynchronous forms in bus/async.hpp. Replaces an earlier, unfired `wake`. It may rarely be early: look, and
  /// when nothing is there ask again.
  bool notify_when_ready(std::function<void()> wake);
  /// Forgets an unfired `wake`; true when there was one.
  bool cancel_notify();
  /// The same without allocation: parks `waiter` (not null), which must stay alive until it was woken or unparked.
  /// False, without parking it, when something is there already.
  bool park(detail::Waiter* waiter);
  /// True when `waiter` was parked and now is not; false when it was woken, or is being woken.
  bool unpark(detail::Waiter* waiter);

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
  friend class CallbackSubscription;
  friend class SharingBus;
  Subscription(std::shared_ptr<internal::BusCore> core, std::shared_ptr<internal::SubscriberState> state) noexcept;
  void let_go() noexcept;
  void received();
  /// The last `count` events that were lent were not looked at; before letting go, which then discards them.
  void unreceive(std::size_t count) noexcept;

  std::shared_ptr<internal::BusCore> core_;
  std::shared_ptr<internal::SubscriberState> state_;
};

}  // namespace sharingbus
