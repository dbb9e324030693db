#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bus/base/log.hpp"
#include "bus/base/result.hpp"
#include "bus/base/timer.hpp"
#include "bus/event.hpp"
#include "bus/filter.hpp"
#include "bus/stage.hpp"
#include "bus/subscription.hpp"

namespace sharingbus {

namespace internal {
struct CoreAccess;
}

enum class PublishStatus : std::uint8_t {
  accepted,
  /// `try_publish` only: the ingress is full.
  refused_full,
  refused_closed,
};

struct PublishResult {
  PublishStatus status = PublishStatus::refused_closed;
  /// The event's place in the one order; 0 when refused.
  std::uint64_t sequence = 0;

  [[nodiscard]] bool accepted() const noexcept { return status == PublishStatus::accepted; }
};

/// Who dispatches.
enum class Engine : std::uint8_t {
  /// Whoever publishes to an idle bus, or finds the ingress full, dispatches; the others only queue.
  combining,
  /// Nothing moves until `poll()`; a full ingress lets its oldest event go, counted. For tests and virtual time.
  manual,
  /// The thread inside `run()`; whoever finds the ingress full helps.
  thread,
  /// Jobs on an executor (`BusOptions::scheduler`); whoever finds the ingress full helps.
  executor,
};

/// One piece of dispatching, to be called once. Copyable; keeps the bus's core alive.
class DispatchJob {
 public:
  explicit DispatchJob(std::shared_ptr<internal::BusCore> core) noexcept : core_(std::move(core)) {}
  void operator()() const;

 private:
  std::shared_ptr<internal::BusCore> core_;
};

/// Where `Engine::executor` dispatches; `dispatch_on` in bus/async.hpp makes one of an Asio executor.
class DispatchScheduler {
 public:
  virtual ~DispatchScheduler() = default;
  /// Calls `job` once, soon, and never from inside this function. Any thread; must not throw.
  virtual void schedule(DispatchJob job) = 0;
};

struct BusOptions {
  /// Events that may wait for the dispatcher. 0 is an error.
  std::size_t ingress_capacity = 1024;
  /// Sum of `BusEvent::size_bytes` that may wait for the dispatcher; 0: no bound.
  std::size_t ingress_capacity_bytes = 0;
  Engine engine = Engine::combining;
  /// `Engine::executor` only, and needed there.
  std::shared_ptr<DispatchScheduler> scheduler{};
  /// How `run()` waits; with Engine::executor, how long a job without work comes back to look again before it leaves.
  WaitStrategy wait = WaitStrategy::block;
  /// Run before the fan-out, in this order. Default: late binding of scroll ids. Empty: none.
  std::vector<std::shared_ptr<Stage>> stages = default_stages();
  /// Events kept for those who subscribe late (`SubscriptionOptions::start`); 0: none. At most kHistoryMax.
  std::size_t history_events = 0;
  /// Bound on the history in bytes besides; 0: none.
  std::size_t history_bytes = 0;
  static constexpr std::size_t kHistoryMax = std::size_t{1} << 26;
  /// Stamp events with `published_at` (one clock read a turn).
  bool timestamps = true;
  /// Null: the machine's clock. Must outlive the bus and its subscriptions.
  const Clock* clock = nullptr;
  /// Warnings: drops, at most once a second per subscription with the count since. Empty: none.
  LogSink log = stderr_log();

  /// `invalid_argument`, naming the field.
  [[nodiscard]] Result<> validate() const;
};

/// Sums over subscriptions that are gone, so that the books balance for the life of a bus.
struct RetiredTotals {
  std::uint64_t subscriptions = 0;
  std::uint64_t matched = 0;
  std::uint64_t received = 0;
  std::uint64_t lagged = 0;
  std::uint64_t discarded = 0;
};

struct BusSnapshot {
  /// Accepted by the ingress: published = dispatched + ingress_lost + ingress_depth at a quiet moment.
  std::uint64_t published = 0;
  /// Went through the stages and the fan-out.
  std::uint64_t dispatched = 0;
  /// Accepted, then gave way in a full ingress (manual engine, or publishing from inside a callback).
  std::uint64_t ingress_lost = 0;
  /// `try_publish` refusals: the ingress was full, or a backpressure subscription had no room.
  std::uint64_t ingress_refused = 0;
  /// `async_publish` calls that are waiting now, and those that ever had to.
  std::uint64_t publish_waiting = 0;
  std::uint64_t publish_waited = 0;
  std::uint64_t ingress_depth = 0;
  std::uint64_t history_depth = 0;
  /// Dead letters made, each for one loss and at least one dead-letter subscription.
  std::uint64_t dead_letters = 0;
  std::uint64_t stage_failures = 0;
  bool closed = false;
  std::vector<std::string> stages;
  std::vector<SubscriptionStats> subscriptions;
  RetiredTotals retired;
};

/// An event that a subscription lost, as dead-letter subscriptions receive it. Its routing, origin, source and sequence
/// are those of the lost event.
struct DeadLetter {
  static constexpr std::string_view event_name = "dead_letter";
  static constexpr EventKind event_kind = EventKind::system;

  /// What was lost; kept alive by this letter.
  EventRef event;
  /// Who lost it.
  SubscriptionId subscription = 0;
  std::string name;
};

/// How many events of a batch were accepted, from the front.
struct PublishBatchResult {
  std::size_t accepted = 0;
  /// Sequence of the last one accepted; 0: none.
  std::uint64_t last_sequence = 0;
};

namespace detail {

/// Takes the event over, also when it is refused. Either may be null.
PublishResult publish(internal::BusCore* core, BusEvent* event) noexcept;

}  // namespace detail

/// A cheap handle to publish with: copy it, keep it, give one to every adapter. Any thread. May outlive the bus:
/// publishing is refused then.
class Publisher {
 public:
  Publisher() noexcept = default;
  explicit Publisher(std::shared_ptr<internal::BusCore> core) noexcept : core_(std::move(core)) {}

  /// Neither fails because nobody listens nor waits for a subscriber. `refused_closed` without a bus.
  PublishResult publish(EventDraft event) const noexcept { return detail::publish(core_.get(), event.give_up()); }
  /// Like `publish` where there is room or the publisher may dispatch; else `refused_full`, where `publish` would wait
  /// or let the oldest event give way, or a backpressure subscription would lose the event. A refused draft is left
  /// as it was.
  PublishResult try_publish(EventDraft&& event) const noexcept;
  /// Publishes all, in order, as by `publish`, at less cost each. The drafts are consumed; not all are accepted only
  /// when the bus closes.
  PublishBatchResult publish_batch(std::span<EventDraft> events) const noexcept;

  template <class T>
  PublishResult publish(T payload, Routing routing, EventOrigin origin = EventOrigin::user,
                        std::uint64_t source = 0) const {
    return publish(make_event(std::move(payload), std::move(routing), origin, source));
  }

 private:
  friend struct internal::CoreAccess;
  std::shared_ptr<internal::BusCore> core_;
};

/// The bus: anyone publishes, one dispatcher at a time feeds the subscribers' queues in one order. (Spec 1.)
///
/// All functions may be called from any thread, also from inside stages and callbacks, unless they say otherwise.
/// Publishing in thread A and then, after A told B, in thread B, keeps that order for every subscriber.
class SharingBus {
 public:
  /// Throws `std::invalid_argument` when `options.validate()` fails.
  explicit SharingBus(BusOptions options = {});
  /// Closes.
  ~SharingBus();
  SharingBus(const SharingBus&) = delete;
  SharingBus& operator=(const SharingBus&) = delete;

  /// Never fails because nobody listens, never waits for a subscriber. What happens at a full ingress: bus/README.md.
  PublishResult publish(EventDraft event) noexcept { return detail::publish(core_.get(), event.give_up()); }
  PublishResult try_publish(EventDraft&& event) noexcept;
  PublishBatchResult publish_batch(std::span<EventDraft> events) noexcept;
  template <class T>
  PublishResult publish(T payload, Routing routing = routing_for<T>(), EventOrigin origin = EventOrigin::user) {
    return publish(make_event(std::move(payload), std::move(routing), origin));
  }
  [[nodiscard]] Publisher publisher() const noexcept { return Publisher(core_); }
  /// An id for `BusEvent::source`; unique for the bus's life, never 0.
  [[nodiscard]] std::uint64_t new_source() noexcept;

  /// Every event, queue of 256. On a closed bus it yields `Closed` at once.
  [[nodiscard]] Subscription subscribe_all();
  /// Once it has returned, every event published afterwards is matched. Throws `std::invalid_argument` when the options
  /// do not `validate()`.
  [[nodiscard]] Subscription subscribe(Filter filter, std::size_t capacity = 256);
  [[nodiscard]] Subscription subscribe(SubscriptionOptions options);
  /// Calls `callback` from the dispatching thread for every match: no queue, no lag, and it must not block. What it
  /// throws is caught and counted. Must not call `poll`.
  [[nodiscard]] Subscription subscribe_inline(SubscriptionOptions options,
                                              std::function<void(const EventRef&)> callback);
  /// A subscription to what others lose: `DeadLetter` events, in the order of the losses, made for those lost events
  /// that match the filter of the options. What it loses itself is counted and makes no further letter.
  [[nodiscard]] Subscription subscribe_dead_letters(SubscriptionOptions options = {});
  /// Idempotent; unknown ids are fine. See `Subscription::unsubscribe`.
  void unsubscribe(SubscriptionId id);
  /// User subscriptions, those that were let go but not yet collected included.
  [[nodiscard]] std::size_t subscriber_count() const;

  /// Dispatches up to `limit` events and returns how many; the only thing that dispatches under the manual engine.
  /// 0 when another thread, or this one further up, is dispatching.
  std::size_t poll(std::size_t limit = static_cast<std::size_t>(-1));

  /// `Engine::thread`: dispatches on this thread until the bus is closed. One thread at a time; a second call returns
  /// at once, as does every call under another engine.
  void run();

  /// Returns when all that was published before has been dispatched, helping under every engine; at once, without
  /// waiting, inside a stage or callback of this bus.
  void flush();

  /// Refuses what is published from now on, dispatches what was accepted, ends every subscription with
  /// `bus_closed`, and returns when that is done (at once when called from inside a callback: the dispatcher then
  /// completes it). Idempotent.
  void close();

  [[nodiscard]] BusSnapshot snapshot() const;

 private:
  friend struct internal::CoreAccess;
  std::shared_ptr<internal::BusCore> core_;
};

}  // namespace sharingbus
